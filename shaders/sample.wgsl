// tokens[position + row + 1] = a token drawn from softmax(logits / temperature), cut to top_k, then top_p, then min_p
//
// Grid: (1, 1). Lane l walks logits l, l + LANES, … Cuts are thresholds on the logit, found by bisection over
// its 32 ordered bits: the highest that still keeps top_k tokens, and of those the highest that still keeps a
// mass of top_p; min_p is one already, since e^((l − top) / temperature) ≥ min_p says l ≥ top + temperature · log(min_p).
// Tokens that tie with the last one kept are kept too. The draw is Gumbel-max: the largest of
// logit / temperature + noise(seed, position, token), so it needs no sorted order and no running sum.
// Greedy (temperature 0) is the same walk without noise. Ties: the lower id wins.
// A logit that is not a number is skipped; if none is a number the token is INVALID.
// Joined: reduce_*, is_number, hash.
@group(0) @binding(0) var<storage, read> logits: array<f32>;           // [VOCABULARY]
@group(0) @binding(1) var<storage, read_write> tokens: array<u32>;     // [context + 1]

const INVALID = 0xffffffffu;
const LOWEST = -3.4028234e38;

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) lane: u32) {
  if (stopped()) {
    return;
  }
  let position = params.position + params.row + 1u;
  var keep = 0u;
  if (params.temperature > 0.0) {
    if (params.top_k > 0u && params.top_k < VOCABULARY) {
      keep = top_k_threshold(lane);
    }
    if (params.top_p < 1.0) {
      keep = top_p_threshold(keep, lane);
    }
    if (params.min_p > 0.0) {
      let top = highest(lane);
      // The most likely token stays, however log rounds.
      keep = max(keep, order_of(min(top, top + params.temperature * log(params.min_p))));
    }
  }
  var best = LOWEST;
  var best_id = INVALID;
  for (var id = lane; id < VOCABULARY; id += LANES) {
    let l = logits[id];
    if (is_number(l) && order_of(l) >= keep) {
      var value = l;
      if (params.temperature > 0.0) {
        value = l / params.temperature + gumbel(position, id);
      }
      if (value > best || best_id == INVALID) {
        best = value;
        best_id = id;
      }
    }
  }
  let top = reduce_max(best, lane);
  let chosen = reduce_min_u32(select(INVALID, best_id, best == top), lane);
  if (lane == 0u) {
    tokens[position] = chosen;
  }
}

// The bits of a float as an integer that sorts the same way.
fn order_of(l: f32) -> u32 {
  let bits = bitcast<u32>(l);
  return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}

fn top_k_threshold(lane: u32) -> u32 {
  var threshold = 0u;
  for (var bit = 0x80000000u; bit > 0u; bit >>= 1u) {
    var count = 0u;
    for (var id = lane; id < VOCABULARY; id += LANES) {
      let l = logits[id];
      count += select(0u, 1u, is_number(l) && order_of(l) >= (threshold | bit));
    }
    if (reduce_sum_u32(count, lane) >= params.top_k) {
      threshold |= bit;
    }
  }
  return threshold;
}

// The largest logit.
fn highest(lane: u32) -> f32 {
  var best = LOWEST;
  for (var id = lane; id < VOCABULARY; id += LANES) {
    best = max(best, select(LOWEST, logits[id], is_number(logits[id])));
  }
  return reduce_max(best, lane);
}

fn top_p_threshold(at_least: u32, lane: u32) -> u32 {
  let top = highest(lane);
  let wanted = params.top_p * mass_from(at_least, top, lane);
  var threshold = 0u;
  for (var bit = 0x80000000u; bit > 0u; bit >>= 1u) {
    if (mass_from(max(threshold | bit, at_least), top, lane) >= wanted) {
      threshold |= bit;
    }
  }
  return max(threshold, at_least);
}

// Σ exp((l − top) / temperature) over the logits whose order is at least `threshold`.
fn mass_from(threshold: u32, top: f32, lane: u32) -> f32 {
  var mass = 0.0;
  for (var id = lane; id < VOCABULARY; id += LANES) {
    let l = logits[id];
    if (is_number(l) && order_of(l) >= threshold) {
      mass += exp((l - top) / params.temperature);
    }
  }
  return reduce_sum(mass, lane);
}

// −log(e), e = −log(1 − v) exponential, v uniform in (0, 1). Small v decide who wins, and WGSL's log is
// coarse near 1, so there e comes from its series.
fn gumbel(position: u32, id: u32) -> f32 {
  let bits = hash(id ^ hash(position ^ hash(params.seed)));
  let v = min((f32(bits) + 0.5) / 4294967296.0, 0.9999999);
  let series = v * (1.0 + v * (0.5 + v * (0.33333333 + v * 0.25)));
  return -log(select(-log(1.0 - v), series, v < 0.03));
}
