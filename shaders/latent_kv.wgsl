// Per token, at its position:
//   cache[position] = (latent · w / sqrt(mean(latent²) + EPSILON), rotated key)     one row for all heads
//   queries[t, h, RANK …] = rotated query part of head h
//   pair i: (a, b) → m·(a·cos − b·sin, a·sin + b·cos), the table holds m·cos and m·sin, as in rope_kv
//
// Grid: (1 + HEADS · PAIRS / SPAN, tokens). Workgroup 0 owns the cache row, each of the others SPAN pairs of queries.
// kv: the latent, then the key's rotary part, from t · KV_ROW + KV_FIRST on. q: the rotary part of head h from
// t · Q_ROW + h · Q_EACH + Q_FIRST on. The first RANK elements of a head of `queries` are another kernel's.
// Pairs are (2i, 2i + 1) where INTERLEAVED, else (i, i + PAIRS).
// Joined: reduce_*.
@group(0) @binding(0) var<storage, read> weights: array<vec4f>;       // the page; w starts at vector BASE
@group(0) @binding(1) var<storage, read> kv: array<f32>;              // [tokens, KV_ROW]
@group(0) @binding(2) var<storage, read> q: array<f32>;               // [tokens, Q_ROW]
@group(0) @binding(3) var<storage, read> table: array<vec2f>;         // [context, PAIRS] (cos, sin)
@group(0) @binding(4) var<storage, read_write> queries: array<f32>;   // [tokens, HEADS, ROW]
@group(0) @binding(5) var<storage, read_write> cache: array<f32>;     // [context, ROW]

const ROW = RANK + 2u * PAIRS;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (stopped()) {
    return;
  }
  let t = group.y;
  let position = params.position + t;
  if (group.x == 0u) {
    store_row(t, position, lane);
    return;
  }
  let begin = (group.x - 1u) * SPAN;
  for (var n = begin + lane; n < min(begin + SPAN, HEADS * PAIRS); n += LANES) {
    let head = n / PAIRS;
    let i = n % PAIRS;
    let start = t * Q_ROW + head * Q_EACH + Q_FIRST;
    let to = (t * HEADS + head) * ROW + RANK;
    let turned = turn(q[start + first_of(i)], q[start + second_of(i)], position, i);
    queries[to + first_of(i)] = turned.x;
    queries[to + second_of(i)] = turned.y;
  }
}

fn store_row(t: u32, position: u32, lane: u32) {
  let start = t * KV_ROW + KV_FIRST;
  let to = position * ROW;
  var squares = 0.0;
  for (var i = lane; i < RANK; i += LANES) {
    squares += kv[start + i] * kv[start + i];
  }
  let scale = inverseSqrt(reduce_sum(squares, lane) / f32(RANK) + EPSILON);
  for (var i = lane; i < RANK; i += LANES) {
    cache[to + i] = kv[start + i] * scale * weights[BASE + i / 4u][i % 4u];
  }
  for (var i = lane; i < PAIRS; i += LANES) {
    let turned = turn(kv[start + RANK + first_of(i)], kv[start + RANK + second_of(i)], position, i);
    cache[to + RANK + first_of(i)] = turned.x;
    cache[to + RANK + second_of(i)] = turned.y;
  }
}

fn turn(a: f32, b: f32, position: u32, i: u32) -> vec2f {
  let by = table[position * PAIRS + i];
  return vec2f(a * by.x - b * by.y, a * by.y + b * by.x);
}

fn first_of(i: u32) -> u32 {
  return select(i, 2u * i, INTERLEAVED);
}

fn second_of(i: u32) -> u32 {
  return select(i + PAIRS, 2u * i + 1u, INTERLEAVED);
}
