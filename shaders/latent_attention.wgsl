// out[t, h, :] = Σ_p softmax_p(SCALE · queries[t, h] · cache[p]) · cache[p, 0 … RANK − 1],  p ≤ position + t
//
// Grid: (tokens · HEADS / TILE, 1). All heads share the cache: a row is the key of a position, and its first RANK
// elements are the value. A workgroup owns TILE queries, heads of a token first, then of the next, and walks the cache
// LANES positions at a time as attention does: a lane scores one position for all its queries with a running softmax, then
// lanes own VECTORS vectors of 4 of the output.
// Joined: reduce_* with SHARED = TILE.
// UNROLL: as matmul.
// Edges: positions past a query weigh 0; every query has at least its own position, so no sum is empty.
@group(0) @binding(0) var<storage, read> queries: array<vec4f>;      // [tokens, HEADS, ROW]
@group(0) @binding(1) var<storage, read> cache: array<vec4f>;        // [context, ROW]
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>;    // [tokens, HEADS, QUARTER]

const QUARTER = RANK / 4u;
const ROW = (RANK + ROTARY) / 4u;
const VECTORS = (QUARTER + LANES - 1u) / LANES;
const LOWEST = -3.0e38;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (stopped()) {
    return;
  }
  let first = group.x * TILE;
  let count = min(TILE, params.tokens * HEADS - first);
  let last = params.position + (first + count - 1u) / HEADS;
  let owned = select(count, TILE, UNROLL);
  var best: array<f32, TILE>;
  var sum: array<f32, TILE>;
  var acc: array<array<vec4f, VECTORS>, TILE>;
  for (var i = 0u; i < owned; i++) {
    best[i] = LOWEST;
  }
  for (var base = 0u; base <= last; base += LANES) {
    var weight = scores(first, base + lane, last, owned);
    for (var i = 0u; i < owned; i++) {
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
    for (var p = 0u; p < min(LANES, last + 1u - base); p++) {
      var v: array<vec4f, VECTORS>;
      for (var d = 0u; d < VECTORS; d++) {
        v[d] = cache[(base + p) * ROW + min(d * LANES + lane, QUARTER - 1u)];
      }
      for (var i = 0u; i < owned; i++) {
        let w = shared_value(i, p);
        for (var d = 0u; d < VECTORS; d++) {
          acc[i][d] += w * v[d];
        }
      }
    }
    unshare();
  }
  for (var i = 0u; i < owned; i++) {
    let total = reduce_sum(sum[i], lane);
    for (var d = 0u; d < VECTORS; d++) {
      if (i < count && d * LANES + lane < QUARTER) {
        out[(first + i) * QUARTER + d * LANES + lane] = acc[i][d] / total;
      }
    }
  }
}

fn scores(first: u32, p: u32, last: u32, count: u32) -> array<f32, TILE> {
  var score: array<f32, TILE>;
  for (var j = 0u; j < ROW; j++) {
    let k = cache[min(p, last) * ROW + j];
    for (var i = 0u; i < count; i++) {
      score[i] += dot(queries[(first + i) * ROW + j], k);
    }
  }
  for (var i = 0u; i < count; i++) {
    score[i] = select(LOWEST, score[i] * SCALE, p <= min(params.position + (first + i) / HEADS, last));
  }
  return score;
}
