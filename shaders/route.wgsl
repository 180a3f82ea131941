// RouteSet of each token: the ROUTES largest logits, best first, with their weights, resolved to slots. Where BIASED
// the ROUTES largest of softmax(logits) + bias.
//   weight = exp(l − max) / Σ exp(l − max), the sum over the chosen (RENORM) or over all experts; · WEIGHT_SCALE
//
// Grid: (1, tokens). Lane l ranks experts l, l + LANES, … by counting those that beat them.
// Ties: the lower expert index wins. A logit that is not a number ranks last, by index, and is told in `fault` as
// DAMAGED: the routes go on, but no text made with them may pass for the model's.
// An expert whose slot is ABSENT is a fault: the lowest site that met one is kept in `fault`, before DAMAGED. Any
// other slot is passed on, found or not: one that another wave computes is ELSEWHERE.
// Joined: reduce_*, is_number, route_set.
@group(0) @binding(0) var<storage, read> logits: array<f32>;            // [tokens, EXPERTS]
@group(0) @binding(1) var<storage, read> page_table: array<u32>;        // this site, then a slot or ABSENT per expert
@group(0) @binding(2) var<storage, read_write> routes: array<Route>;    // [tokens, ROUTES]
@group(0) @binding(3) var<storage, read_write> counts: array<u32>;      // [tokens]
@group(0) @binding(4) var<storage, read_write> fault: atomic<u32>;      // lowest faulting site
@group(0) @binding(5) var<storage, read> bias: array<vec4f>;            // the page; [EXPERTS] from vector BIAS

const LOWEST = -3.4028234e38;
const DAMAGED = 0xfffffffeu;

fn logit_at(t: u32, e: u32) -> f32 {
  let l = logits[t * EXPERTS + e];
  return select(LOWEST, l, is_number(l));
}

// What experts are chosen by.
fn score_at(t: u32, e: u32, top: f32, all: f32) -> f32 {
  let l = logit_at(t, e);
  if (!BIASED) {
    return l;
  }
  let b = bias[BIAS + e / 4u][e % 4u];
  return exp(l - top) / all + select(0.0, b, is_number(b));
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let t = group.y;
  var best = LOWEST;
  for (var e = lane; e < EXPERTS; e += LANES) {
    best = max(best, logit_at(t, e));
    if (!is_number(logits[t * EXPERTS + e])) {
      atomicMin(&fault, DAMAGED);
    }
    if (BIASED && !is_number(bias[BIAS + e / 4u][e % 4u])) {
      atomicMin(&fault, DAMAGED);
    }
  }
  let top = reduce_max(best, lane);
  var all = 1.0;
  if (BIASED || !RENORM) {
    var mass = 0.0;
    for (var e = lane; e < EXPERTS; e += LANES) {
      mass += exp(logit_at(t, e) - top);
    }
    all = reduce_sum(mass, lane);
  }
  var total = all;
  if (RENORM) {
    var mass = 0.0;
    for (var e = lane; e < EXPERTS; e += LANES) {
      if (rank_of(t, e, top, all) < ROUTES) {
        mass += exp(logit_at(t, e) - top);
      }
    }
    total = reduce_sum(mass, lane);
  }
  for (var e = lane; e < EXPERTS; e += LANES) {
    let rank = rank_of(t, e, top, all);
    if (rank < ROUTES) {
      let slot = page_table[1u + e];
      if (slot == ABSENT) {
        atomicMin(&fault, page_table[0]);
      }
      routes[t * ROUTES + rank] = Route(e, slot, WEIGHT_SCALE * exp(logit_at(t, e) - top) / total);
    }
  }
  if (lane == 0u) {
    counts[t] = ROUTES;
  }
}

fn rank_of(t: u32, e: u32, top: f32, all: f32) -> u32 {
  let mine = score_at(t, e, top, all);
  var rank = 0u;
  for (var other = 0u; other < EXPERTS; other++) {
    let l = score_at(t, other, top, all);
    rank += select(0u, 1u, l > mine || (l == mine && other < e));
  }
  return rank;
}
