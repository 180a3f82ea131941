import type { ModelInfo, Progress, Stats } from "../src/index.ts";

const UNITS = ["B", "kB", "MB", "GB", "TB"];

/** Three digits and a decimal unit: `12.4 MB`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${threeDigits(value)} ${UNITS[unit]}`;
}

export function formatMs(milliseconds: number): string {
  return milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${threeDigits(milliseconds / 1000)} s`;
}

/** `93.1 %`, of a share from 0 to 1. */
export function formatShare(share: number): string {
  return `${threeDigits(100 * share)} %`;
}

export function threeDigits(value: number): string {
  if (value >= 99.95 || Number.isInteger(value)) return String(Math.round(value));
  return value.toFixed(value >= 9.995 ? 1 : 2);
}

export function formatProgress({ phase, bytesDone, bytesTotal }: Progress): string {
  if (phase === "open") return "Reading the header …";
  if (phase === "ready") return "Ready";
  if (phase === "install") return `Fetching the rest: ${Math.floor((100 * bytesDone) / bytesTotal)} %`;
  if (bytesDone === bytesTotal) return "Preparing the kernels …";
  return `Loading weights: ${formatBytes(bytesDone)} of ${formatBytes(bytesTotal)}`;
}

export function formatModel(info: ModelInfo): string {
  const experts = info.experts > 0 ? `${info.expertsPerToken} of ${info.experts} experts a token` : "dense";
  const parts = [
    info.architecture,
    `${info.layers} layers`,
    experts,
    `vocabulary ${info.vocabulary}`,
    `context ${info.contextTokens}`,
    info.adapter,
  ];
  return parts.filter((part) => part !== "").join(" · ");
}

/** What the page says of a generation, as term and value. */
export function formatStats(stats: Stats): [string, string][] {
  return [
    ["Speed", `${threeDigits(stats.decodeTokensPerSecond)} tokens/s`],
    ["First token", formatMs(stats.timeToFirstTokenMs)],
    ["Prompt", `${threeDigits(stats.prefillTokensPerSecond)} tokens/s`],
    ["Loaded in", formatMs(stats.loadMs)],
    ["Fetched", formatBytes(stats.bytesFetched)],
    ["GPU memory", formatBytes(stats.gpuBytes)],
    ["Host peak", formatBytes(stats.hostBytesPeak)],
    ...formatPaging(stats),
  ];
}

/** Nothing where every expert that was asked for had its place. */
function formatPaging(stats: Stats): [string, string][] {
  const { expertHitRate, faultsPerToken, bytesUploadedPerToken, bytesStalledPerToken } = stats;
  // The rate is also 0 before there is anything to report, and then there are no faults.
  const isPartlyResident = faultsPerToken > 0 || (expertHitRate > 0 && expertHitRate < 1);
  if (!isPartlyResident) return [];
  return [
    ["Expert hits", formatShare(expertHitRate)],
    ["Faults", `${threeDigits(faultsPerToken)} a token`],
    ["Uploaded", `${formatBytes(bytesUploadedPerToken)} a token`],
    ["Waited for", `${formatBytes(bytesStalledPerToken)} a token`],
  ];
}
