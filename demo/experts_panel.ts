import type { ExpertActivity, Model } from "../src/index.ts";
import { describeActivity, HeatTrail, type LayerHeat, summariseLayers } from "./activity.ts";
import { element, make } from "./dom.ts";
import { type Cell, ExpertMap, type MapColors } from "./expert_map.ts";
import type { ExpertMap3d } from "./expert_map_3d.ts";
import { formatShare } from "./format.ts";

type View = "flat" | "space" | "off";

const IDLE = "Load a model with experts to see which of them work.";

/** The live map of experts: flat or in space, in words, and as a table. */
export class ExpertsPanel {
  readonly #canvas = element("expert-map", HTMLCanvasElement);
  readonly #canvas3d = element("expert-map-3d", HTMLCanvasElement);
  readonly #summary = element("expert-summary", HTMLElement);
  readonly #readout = element("expert-readout", HTMLElement);
  readonly #table = element("expert-table", HTMLTableElement);
  readonly #details = element("expert-details", HTMLDetailsElement);
  readonly #map = new ExpertMap(this.#canvas);
  #map3d: ExpertMap3d | undefined;
  /** Whether the panel is on screen; nobody counts for a reader who looks elsewhere. */
  #isOnScreen = false;
  #view: View = "flat";
  #trail = new HeatTrail();
  #layers: readonly LayerHeat[] = [];
  #activity: ExpertActivity | undefined;
  #cursor: Cell | undefined;

  constructor() {
    for (const choice of document.querySelectorAll<HTMLInputElement>("input[name=expert-view]")) {
      choice.addEventListener("change", () => void this.#choose(choice.value as View));
    }
    this.#canvas.addEventListener("pointermove", ({ clientX, clientY }) => {
      this.#point(this.#map.at(clientX, clientY));
    });
    this.#canvas.addEventListener("pointerleave", () => this.#point(undefined));
    this.#canvas.addEventListener("keydown", (event) => this.#key(event));
    this.#details.addEventListener("toggle", () => this.#tabulate());
    new ResizeObserver(() => this.draw()).observe(element("expert-frame", HTMLElement));
    new IntersectionObserver(([entry]) => {
      this.#isOnScreen = entry?.isIntersecting ?? false;
    }).observe(element("experts", HTMLElement));
    element("expert-hint", HTMLElement).textContent = HINTS.flat;
    // It scrolls sideways where it is narrow, which must be possible by keyboard.
    element("expert-table-frame", HTMLElement).tabIndex = 0;
    this.clear();
  }

  /** Before another model. */
  clear(): void {
    this.#trail = new HeatTrail();
    this.#layers = [];
    this.#activity = undefined;
    this.#cursor = undefined;
    this.#summary.textContent = IDLE;
    this.#readout.textContent = "";
    this.#table.tBodies[0]?.replaceChildren();
    element("expert-frame", HTMLElement).hidden = true;
    this.#details.hidden = true;
  }

  /** Asks `model` what its experts did, if anybody looks. Being asked makes a model slower. */
  async update(model: Model): Promise<void> {
    if (this.#view === "off" || !this.#isOnScreen || document.hidden) return;
    const activity = await model.experts();
    if ((this.#view as View) === "off") return;
    this.#activity = activity;
    this.#layers = this.#trail.push(activity);
    this.#summary.textContent = describeActivity(activity);
    const hasExperts = activity.sites.length > 0;
    element("expert-frame", HTMLElement).hidden = !hasExperts;
    this.#details.hidden = !hasExperts;
    this.draw();
    this.#tabulate();
    this.#point(this.#cursor);
  }

  /** Again, in the size and the colours of now. */
  draw(): void {
    const colors = mapColors();
    if (this.#view === "flat") this.#map.draw(this.#layers, colors, this.#cursor);
    else if (this.#view === "space") this.#map3d?.show(this.#layers, colors);
  }

  async #choose(view: View): Promise<void> {
    this.#view = view;
    this.#canvas.hidden = view !== "flat";
    this.#canvas3d.hidden = view !== "space";
    this.#readout.hidden = view !== "flat";
    element("expert-hint", HTMLElement).textContent = HINTS[view];
    if (view === "off") {
      this.clear();
      this.#summary.textContent = "Nobody counts; the model runs at its full speed.";
    }
    if (view !== "space") {
      this.#map3d?.close();
      this.#map3d = undefined;
    } else if (!this.#map3d) await this.#open3d();
    this.draw();
  }

  async #open3d(): Promise<void> {
    const failed = (error: unknown) => {
      const reason = error instanceof Error ? error.message : String(error);
      element("expert-hint", HTMLElement).textContent = `The view in space cannot be drawn: ${reason}.`;
    };
    try {
      const { ExpertMap3d } = await import("./expert_map_3d.ts");
      const opened = await ExpertMap3d.open(this.#canvas3d, failed);
      if (this.#view !== "space" || this.#map3d) opened.close();
      else this.#map3d = opened;
    } catch (error) {
      failed(error);
    }
  }

  #key(event: KeyboardEvent): void {
    const steps: Readonly<Record<string, readonly [number, number]>> = {
      ArrowLeft: [0, -1],
      ArrowRight: [0, 1],
      ArrowUp: [-1, 0],
      ArrowDown: [1, 0],
    };
    const step = steps[event.key];
    if (!step || this.#layers.length === 0) return;
    event.preventDefault();
    const { row, expert } = this.#cursor ?? { row: 0, expert: 0 };
    const to = this.#cursor ? { row: row + step[0], expert: expert + step[1] } : { row, expert };
    if (this.#layers[to.row]?.heat[to.expert] !== undefined) this.#point(to);
  }

  /** Says what is known of one expert, or of none. */
  #point(cell: Cell | undefined): void {
    const moved = cell?.row !== this.#cursor?.row || cell?.expert !== this.#cursor?.expert;
    this.#cursor = cell;
    const site = cell && this.#activity?.sites[cell.row];
    const text = site ? describeCell(site, cell.expert) : "";
    if (this.#readout.textContent !== text) this.#readout.textContent = text;
    if (moved) this.draw();
  }

  #tabulate(): void {
    if (!this.#details.open || !this.#activity) return;
    const rows = summariseLayers(this.#activity).map((layer) => {
      const busiest = layer.busiest
        .map(({ expert, share }) => `${expert} (${formatShare(share)})`)
        .join(", ");
      const head = make("th", "", layer.name);
      head.scope = "row";
      const cells = [
        busiest || "–",
        `${layer.used} of ${layer.experts}`,
        String(layer.misses),
        String(layer.resident),
      ];
      return make("tr", "", head, ...cells.map((text) => make("td", "", text)));
    });
    this.#table.tBodies[0]?.replaceChildren(...rows);
  }
}

const HINTS: Readonly<Record<View, string>> = {
  flat: "Rows are layers, two where a layer also attends with experts; columns are experts. Point at a cell, or move over them with the arrow keys. Watching slows the model down; Off does not watch.",
  space:
    "Depth is the layer, width the expert, height recent use. Drag or use the arrow keys to turn, + and − to come nearer. Drawn on a device of this page’s own: the engine’s is in its worker.",
  off: "",
};

function describeCell(site: ExpertActivity["sites"][number], expert: number): string {
  const where = site.isResident[expert] ? "in GPU memory" : "not in GPU memory";
  const place = site.pageless.includes(expert) ? "without weights" : where;
  const [uses, misses] = [site.uses[expert] ?? 0, site.misses[expert] ?? 0];
  const name = site.block === "attention" ? "attention expert" : "expert";
  return `Layer ${site.layer}, ${name} ${expert}: ${uses} uses, ${misses} waited for, ${place}`;
}

/** From the legend, which so cannot say anything else than the map. */
function mapColors(): MapColors {
  const of = (name: string) => getComputedStyle(element(`legend-${name}`, HTMLElement)).backgroundColor;
  return { cold: of("cold"), hot: of("hot"), miss: of("miss"), paper: of("absent") };
}
