// Weights of experts by TREES binary trees of smooth steps (COMET): a token goes left at an inner node with probability
// S(v), right with 1 − S(v), v being the node's product, and S(v) = u² (3 − 2u), u = v / GAMMA + 1/2 from 0 to 1, else 0 or 1.
//   s[i, j]     = a[i, j] + ln(probability of reaching leaf j of tree i), a the leaf's product; out of reach: none
//   weight[e]   = Σ_i softmax(s)[i, e], the softmax over the leaves of all trees;  PERMUTED: Σ_ij softmax(s)[i, j] · P[i, j, e]
// Inner nodes are 0 to EXPERTS − 2, the children of n are 2n + 1 and 2n + 2, leaves from EXPERTS − 1 on, in the order from left
// to right, so that those of the deepest level come first. A weight is exactly 0 where no tree reaches the expert.
//
// Grid: (1, tokens). Lane l owns leaves l, l + LANES, … of all trees, then experts.
// A product that is not a number becomes every weight, for the route step to find.
// Joined: reduce_*, is_number.
@group(0) @binding(0) var<storage, read> products: array<f32>;        // [tokens, TREES · (EXPERTS − 1) + TREES · EXPERTS]
@group(0) @binding(1) var<storage, read_write> weights: array<f32>;   // [tokens, EXPERTS]
@group(0) @binding(2) var<storage, read> permutations: array<vec4f>;  // the page; P [TREES, EXPERTS, EXPERTS] from vector P_BASE

const LOWEST = -3.4028234e38;
const INNER = EXPERTS - 1u;
const LEAVES = TREES * EXPERTS;
const COLS = TREES * INNER + LEAVES;

var<workgroup> masses: array<f32, LEAVES>;
var<workgroup> damaged: atomic<u32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (stopped()) {
    return;
  }
  let start = group.y * COLS;
  var best = LOWEST;
  for (var i = lane; i < LEAVES; i += LANES) {
    let reached = probability(start, i);
    masses[i] = reached;
    if (reached > 0.0) {
      best = max(best, number(products[start + TREES * INNER + i]) + log(reached));
    }
  }
  let top = reduce_max(best, lane);
  var sum = 0.0;
  for (var i = lane; i < LEAVES; i += LANES) {
    if (masses[i] > 0.0) {
      masses[i] *= exp(number(products[start + TREES * INNER + i]) - top);
    }
    sum += masses[i];
  }
  let all = reduce_sum(sum, lane);
  workgroupBarrier();
  let found = atomicLoad(&damaged);
  for (var e = lane; e < EXPERTS; e += LANES) {
    weights[group.y * EXPERTS + e] = select(mass(e) / all, bitcast<f32>(found), found != 0u);
  }
}

fn mass(e: u32) -> f32 {
  var sum = 0.0;
  if (PERMUTED) {
    for (var i = 0u; i < LEAVES; i++) {
      let at = i * EXPERTS + e;
      sum += masses[i] * permutations[P_BASE + at / 4u][at % 4u];
    }
  } else {
    for (var tree = 0u; tree < TREES; tree++) {
      sum += masses[tree * EXPERTS + e];
    }
  }
  return sum;
}

// Of reaching leaf i, counted over all trees.
fn probability(start: u32, i: u32) -> f32 {
  let tree = start + i / EXPERTS * INNER;
  let leaf = i % EXPERTS;
  var node = select(INNER + leaf - DEEPEST, FIRST_DEEPEST + leaf, leaf < DEEPEST);
  var reached = 1.0;
  while (node > 0u) {
    let v = number(products[tree + (node - 1u) / 2u]) / GAMMA;
    let u = saturate(0.5 + select(-v, v, node % 2u == 1u));
    reached *= u * u * (3.0 - 2.0 * u);
    node = (node - 1u) / 2u;
  }
  return reached;
}

fn number(v: f32) -> f32 {
  if (!is_number(v)) {
    atomicMax(&damaged, bitcast<u32>(v));
    return 0.0;
  }
  return v;
}
