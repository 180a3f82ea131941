// RouteSet of each token: the ROUTES largest logits, best first, with their weights, resolved to slots.
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

const LOWEST = -3.4028234e38;
const DAMAGED = 0xfffffffeu;

fn logit_at(t: u32, e: u32) -> f32 {
  let l = logits[t * EXPERTS + e];
  return select(LOWEST, l, is_number(l));
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
  }
  let top = reduce_max(best, lane);
  var mass = 0.0;
  for (var e = lane; e < EXPERTS; e += LANES) {
    if (!RENORM || rank_of(t, e) < ROUTES) {
      mass += exp(logit_at(t, e) - top);
    }
  }
  let total = reduce_sum(mass, lane);
  for (var e = lane; e < EXPERTS; e += LANES) {
    let rank = rank_of(t, e);
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

fn rank_of(t: u32, e: u32) -> u32 {
  let mine = logit_at(t, e);
  var rank = 0u;
  for (var other = 0u; other < EXPERTS; other++) {
    let l = logit_at(t, other);
    rank += select(0u, 1u, l > mine || (l == mine && other < e));
  }
  return rank;
}
