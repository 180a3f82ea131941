// out[t, h, :] = Σ_p softmax_p(score(q[t, h]·k[p, kv(h)])) · v[p, kv(h)],  earliest(position + t) ≤ p ≤ position + t
//   score(s) = s · SCALE, or CAP · tanh(s · SCALE / CAP) where CAPPED
//   earliest(i) = 0; i − WINDOW + 1 where SLIDING; the largest multiple of WINDOW up to i where CHUNKED
// The heads of a token are SETS sets, one behind the other, of which each has the same number for every kv head.
// Where SINKS, a head's sink is one more score, as it is, that weighs nothing but takes its share.
//
// Grid: (KV_HEADS, tokens / TILE). A workgroup owns the QUERIES = TILE · GROUP queries that share a kv head,
// walks the cache LANES positions at a time (a lane scores one position for all queries) and keeps a running
// softmax, so a key or value is loaded once for all queries. For the output a lane owns VECTORS vectors of 4.
// Joined: reduce_* with SHARED = QUERIES, safe_tanh.
// UNROLL: as matmul.
// Edges: positions a query does not see weigh 0, also where that is a whole step of the walk; every query has at
// least its own position, so no sum is empty.
@group(0) @binding(0) var<storage, read> q: array<vec4f>;            // [tokens, SETS, KV_HEADS, GROUP / SETS, HEAD / 4]
@group(0) @binding(1) var<storage, read> keys: array<vec4f>;         // [KV_HEADS, HEAD / 4, CONTEXT]
@group(0) @binding(2) var<storage, read> values: array<vec4f>;       // [KV_HEADS, CONTEXT, VALUE / 4]
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;    // [tokens, SETS, KV_HEADS, GROUP / SETS, VALUE / 4]
@group(0) @binding(4) var<storage, read> sinks: array<vec4f>;        // the page; [KV_HEADS, GROUP] from vector SINK_BASE

const QUARTER = HEAD / 4u;
const VALUE_QUARTER = VALUE / 4u;
const VECTORS = (VALUE_QUARTER + LANES - 1u) / LANES;
const QUERIES = TILE * GROUP;
const TOGETHER = GROUP / SETS;
const LOWEST = -3.0e38;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (stopped()) {
    return;
  }
  let kv = group.x;
  let first = group.y * TILE;
  let last = params.position + min(first + TILE, params.tokens) - 1u;
  let queries = select(min(TILE, params.tokens - first) * GROUP, QUERIES, UNROLL);
  var best: array<f32, QUERIES>;
  var sum: array<f32, QUERIES>;
  var acc: array<array<vec4f, VECTORS>, QUERIES>;
  for (var i = 0u; i < queries; i++) {
    best[i] = LOWEST;
    if (SINKS) {
      let head = kv * GROUP + i % GROUP;
      best[i] = sinks[SINK_BASE + head / 4u][head % 4u];
      sum[i] = select(0.0, 1.0, lane == 0u);
    }
  }
  for (var base = earliest(params.position + first) / LANES * LANES; base <= last; base += LANES) {
    var weight = scores(kv, first, base + lane, last, queries);
    for (var i = 0u; i < queries; i++) {
      let next = max(best[i], reduce_max(weight[i], lane));
      let shrink = exp(best[i] - next);
      weight[i] = select(exp(weight[i] - next), 0.0, weight[i] <= LOWEST);
      best[i] = next;
      sum[i] = sum[i] * shrink + weight[i];
      for (var d = 0u; d < VECTORS; d++) {
        acc[i][d] *= shrink;
      }
    }
    share(weight, lane);
    for (var p = 0u; p < LANES; p++) {
      let at = (kv * CONTEXT + min(base + p, last)) * VALUE_QUARTER;
      var v: array<vec4f, VECTORS>;
      for (var d = 0u; d < VECTORS; d++) {
        v[d] = values[at + min(d * LANES + lane, VALUE_QUARTER - 1u)];
      }
      for (var i = 0u; i < queries; i++) {
        let w = shared_value(i, p);
        for (var d = 0u; d < VECTORS; d++) {
          acc[i][d] += w * v[d];
        }
      }
    }
    unshare();
  }
  for (var i = 0u; i < queries; i++) {
    let total = reduce_sum(sum[i], lane);
    let t = first + i / GROUP;
    for (var d = 0u; d < VECTORS; d++) {
      if (t < params.tokens && d * LANES + lane < VALUE_QUARTER) {
        out[row_of(kv, first, i) * VALUE_QUARTER + d * LANES + lane] = acc[i][d] / total;
      }
    }
  }
}

// Of query i, among the rows of q and out.
fn row_of(kv: u32, first: u32, i: u32) -> u32 {
  return ((first * SETS + i / TOGETHER) * KV_HEADS + kv) * TOGETHER + i % TOGETHER;
}

// The first position that a query at this one sees.
fn earliest(position: u32) -> u32 {
  if (SLIDING) {
    return position - min(position, WINDOW - 1u);
  }
  if (CHUNKED) {
    return position - position % WINDOW;
  }
  return 0u;
}

fn scores(kv: u32, first: u32, p: u32, last: u32, queries: u32) -> array<f32, QUERIES> {
  var score: array<f32, QUERIES>;
  for (var j = 0u; j < QUARTER; j++) {
    let k = keys[(kv * QUARTER + j) * CONTEXT + min(p, last)];
    for (var i = 0u; i < queries; i++) {
      score[i] += dot(q[row_of(kv, first, i) * QUARTER + j], k);
    }
  }
  for (var i = 0u; i < queries; i++) {
    let position = params.position + first + i / GROUP;
    let seen = p <= position && p <= last && p >= earliest(position);
    if (CAPPED) {
      score[i] = CAP * safe_tanh(score[i] * (SCALE / CAP));
    } else {
      score[i] *= SCALE;
    }
    score[i] = select(LOWEST, score[i], seen);
  }
  return score;
}
