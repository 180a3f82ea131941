// RouteSet of each token: up to ROUTES of the best experts, best first, with their weights, resolved to slots.
//   score  = mass(l / temperature), where SUMS_TO_ONE over the sum of all masses
//   weight = WEIGHT_SCALE · score, where RENORM over the sum of the chosen scores, at least LEAST_TOTAL; or see weight_*
// Best is the largest logit, which is the largest score; with a bias or groups the largest score + bias. With groups
// (EXPERTS / GROUPS neighbours each) only experts of the GROUPS_USED best are chosen, a group being as good as its best
// expert, or BY_TWO as its best two together. How many are chosen the head of the page table's row says, see `choose`: it
// may change from token to token.
//
// Grid: (1, tokens). Lane l owns experts (and groups) l, l + LANES, … and takes part in ROUTES rounds: each finds the
// best expert left. A round costs EXPERTS / LANES steps; counting for each expert who beats it cost EXPERTS² / LANES.
// Ties: the lower index wins, of experts and of groups. A logit that is not a number ranks last, by index, or by its
// bias with a score of 0, and is told in `fault` as DAMAGED: the routes go on, but no text made with them may pass for
// the model's.
// An expert whose slot is ABSENT is a fault: the lowest site that met one is kept in `fault`, before DAMAGED. Any
// other slot is passed on, found or not: one that another wave computes is ELSEWHERE.
// Experts that `is_dropped` are chosen like others, weigh nothing and take no part in RENORM's sum.
// Rows behind a token's count name no expert and no slot, so that nothing computes or fetches them.
// Joined: logits_*, gate_*, weight_*, reduce_*, is_number, is_dropped, route_set.
@group(0) @binding(0) var<storage, read> logits: array<f32>;            // [tokens, EXPERTS]
@group(0) @binding(1) var<storage, read> page_table: array<u32>;        // the head: this site and Numbers; a slot or ABSENT per expert
@group(0) @binding(2) var<storage, read_write> routes: array<Route>;    // [tokens, ROUTES]
@group(0) @binding(3) var<storage, read_write> counts: array<u32>;      // [tokens]
@group(0) @binding(4) var<storage, read_write> fault: atomic<u32>;      // lowest faulting site
@group(0) @binding(5) var<storage, read> bias: array<vec4f>;            // the page; [EXPERTS] from vector BIAS

const LOWEST = -3.4028234e38;
const DAMAGED = 0xfffffffeu;
const NOBODY = 0xffffffffu;
const TAKEN = 0xffffffffu;
const LAST = 0xfffffffeu;
const GROUPED = GROUPS_USED < GROUPS;
const GROUP_EXPERTS = EXPERTS / GROUPS;
const HEAD = 5u;
const NO_LIMIT = 1e30;

struct Numbers {
  k: u32,            // at most so many experts
  p: f32,            // as long as those before have no more of all scores than this; NO_LIMIT: always
  threshold: f32,    // and only those that score so much
  coldness: f32,     // 1 / temperature
}

// Ranks of the experts, or before them of the groups, that this lane owns: the lower the better, or TAKEN.
var<private> ranks: array<u32, (EXPERTS + LANES - 1u) / LANES>;
// The experts of the token, best first.
var<private> chosen: array<u32, ROUTES>;
var<private> coldness: f32;

// What experts are chosen by where scores are as their logits are.
fn logit_at(t: u32, e: u32) -> f32 {
  let l = logits[t * EXPERTS + e];
  return select(LOWEST, gated(l, e), is_number(l));
}

fn cooled_at(t: u32, e: u32) -> f32 {
  let l = logits[t * EXPERTS + e];
  return select(LOWEST, gated(l, e) * coldness, is_number(l));
}

// What experts are chosen by.
fn score_at(t: u32, e: u32, top: f32, all: f32) -> f32 {
  if (!BIASED && !GROUPED) {
    return logit_at(t, e);
  }
  let score = mass(cooled_at(t, e), top) / all;
  if (!BIASED) {
    return score;
  }
  let b = bias[BIAS + e / 4u][e % 4u];
  return score + select(0.0, b, is_number(b));
}

// What a group is chosen by.
fn group_score(t: u32, g: u32, top: f32, all: f32) -> f32 {
  var first = LOWEST;
  var second = LOWEST;
  for (var e = g * GROUP_EXPERTS; e < (g + 1u) * GROUP_EXPERTS; e++) {
    let score = score_at(t, e, top, all);
    second = max(second, min(first, score));
    first = max(first, score);
  }
  return select(first, first + second, BY_TWO && GROUP_EXPERTS > 1u);
}

// The order of floats turned round in integers, so that −0 is 0 and no adapter rounds a small one to it.
fn rank_of(score: f32) -> u32 {
  let bits = bitcast<u32>(select(score, 0.0, score == 0.0));
  return min(select(0x7fffffffu - bits, bits, (bits >> 31u) == 1u), LAST);
}

// The best of `count` by `ranks`, found by all lanes together and taken.
fn take_best(count: u32, lane: u32) -> u32 {
  var rank = TAKEN;
  var best = 0xffffffffu;
  for (var i = lane; i < count; i += LANES) {
    let own = ranks[i / LANES];
    if (own < rank) {
      rank = own;
      best = i;
    }
  }
  let lowest = reduce_min_u32(rank, lane);
  let taken = reduce_min_u32(select(0xffffffffu, best, rank == lowest), lane);
  if (taken % LANES == lane) {
    ranks[taken / LANES] = TAKEN;
  }
  return taken;
}

// Chooses the best experts. Top-p ends where the shares of those before sum to more than p: the one that crosses it is the
// last, and a sum that equals p goes on. All k rounds run, since lanes may not part ways between barriers.
// @returns how many of `chosen` are
fn choose(t: u32, numbers: Numbers, is_limited: bool, top: f32, all: f32, lane: u32) -> u32 {
  if (TAKES_ALL && numbers.k == EXPERTS && !is_limited) {
    for (var e = 0u; e < ROUTES; e++) {
      chosen[e] = e;
    }
    return EXPERTS;
  }
  var count = 0u;
  var sum = 0.0;
  for (var i = 0u; i < ROUTES; i++) {
    if (i >= numbers.k) {
      break;
    }
    let e = take_best(EXPERTS, lane);
    if (!is_limited) {
      chosen[i] = e;
      continue;
    }
    let own = mass(cooled_at(t, e), top);
    if (sum <= numbers.p * all && own >= numbers.threshold * all) {
      chosen[count] = e;
      sum += own;
      count++;
    }
  }
  return select(numbers.k, count, is_limited);
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let t = group.y;
  let floats = vec3f(bitcast<f32>(page_table[2]), bitcast<f32>(page_table[3]), bitcast<f32>(page_table[4]));
  let numbers = Numbers(min(page_table[1], ROUTES), floats.x, floats.y, floats.z);
  let is_limited = numbers.p < NO_LIMIT || numbers.threshold > 0.0;
  coldness = numbers.coldness;
  read_all(t, lane);
  var best = LOWEST;
  for (var e = lane; e < EXPERTS; e += LANES) {
    // Without those that are dropped, whose masses nobody adds.
    best = max(best, select(cooled_at(t, e), LOWEST, is_dropped(e)));
    if (!is_number(logits[t * EXPERTS + e])) {
      atomicMin(&fault, DAMAGED);
    }
    if (BIASED && !is_number(bias[BIAS + e / 4u][e % 4u])) {
      atomicMin(&fault, DAMAGED);
    }
  }
  var top = 0.0;
  var all = 1.0;
  if (SUMS_TO_ONE) {
    top = reduce_max(best, lane);
    if (BIASED || GROUPED || is_limited || (IS_SCORED && !RENORM)) {
      var sum = 0.0;
      for (var e = lane; e < EXPERTS; e += LANES) {
        sum += mass(cooled_at(t, e), top);
      }
      all = reduce_sum(sum, lane);
    }
  }

  var is_open: array<bool, GROUPS>;
  if (GROUPED) {
    for (var g = lane; g < GROUPS; g += LANES) {
      ranks[g / LANES] = rank_of(group_score(t, g, top, all));
    }
    for (var i = 0u; i < GROUPS_USED; i++) {
      is_open[take_best(GROUPS, lane)] = true;
    }
  }
  for (var e = lane; e < EXPERTS; e += LANES) {
    let rank = rank_of(score_at(t, e, top, all));
    ranks[e / LANES] = select(LAST, rank, !GROUPED || is_open[e / GROUP_EXPERTS]);
  }
  let count = choose(t, numbers, is_limited, top, all, lane);

  var total = all;
  if (IS_SCORED && RENORM) {
    var sum = 0.0;
    for (var i = lane; i < count; i += LANES) {
      if (!is_dropped(chosen[i])) {
        sum += mass(cooled_at(t, chosen[i]), top);
      }
    }
    total = max(reduce_sum(sum, lane), LEAST_TOTAL);
  }
  for (var i = lane; i < ROUTES; i += LANES) {
    if (i >= count) {
      routes[t * ROUTES + i] = Route(NOBODY, ABSENT, 0.0);
      continue;
    }
    let e = chosen[i];
    let slot = page_table[HEAD + e];
    if (slot == ABSENT) {
      atomicMin(&fault, page_table[0]);
    }
    let own = weight(mass(cooled_at(t, e), top), total, count);
    routes[t * ROUTES + i] = Route(e, slot, select(own, 0.0, is_dropped(e)));
  }
  if (lane == 0u) {
    counts[t] = count;
  }
}
