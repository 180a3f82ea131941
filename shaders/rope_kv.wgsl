// Per head of one token: normalise (where NORM_Q, NORM_K), rotate, and put q into its buffer, k and v into
// the cache at the token's position.
//   pair i of a rotated head:  (a, b) → m·(a·cos − b·sin, a·sin + b·cos), angle = position · frequency[i]
// The table holds m·cos and m·sin, made in float64 on the host: WGSL's own sin is too coarse.
//
// Grid: (HEADS + 2 · KV_HEADS, tokens). A workgroup owns a head: q heads, then k heads, then v heads.
// Where WHOLE_Q, WHOLE_K the norm is over all q or k heads of the token as one vector, which each head sums anew.
// Pairs are (i, i + ROTARY / 2), or (2i, 2i + 1) where INTERLEAVED; elements past ROTARY pass unrotated.
// Joined: reduce_*.
@group(0) @binding(0) var<storage, read> weights: array<vec4f>;       // the page; norm weights at BASE_Q, BASE_K
@group(0) @binding(1) var<storage, read> qkv: array<f32>;             // [tokens, (HEADS + 2 · KV_HEADS) · HEAD]
@group(0) @binding(2) var<storage, read> table: array<vec2f>;         // [context, ROTARY / 2] (cos, sin)
@group(0) @binding(3) var<storage, read_write> q: array<f32>;         // [tokens, HEADS, HEAD]
@group(0) @binding(4) var<storage, read_write> keys: array<f32>;      // [KV_HEADS, HEAD / 4, CONTEXT, 4]
@group(0) @binding(5) var<storage, read_write> values: array<f32>;    // [KV_HEADS, CONTEXT, HEAD]

const STRIDE = (HEADS + 2u * KV_HEADS) * HEAD;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (stopped()) {
    return;
  }
  let head = group.x;
  let start = group.y * STRIDE + head * HEAD;
  let position = params.position + group.y;
  let is_q = head < HEADS;
  let is_v = head >= HEADS + KV_HEADS;
  if (is_v) {
    let to = ((head - HEADS - KV_HEADS) * CONTEXT + position) * HEAD;
    for (var i = lane; i < HEAD; i += LANES) {
      values[to + i] = qkv[start + i];
    }
    return;
  }
  var scale = 1.0;
  let normalise = select(NORM_K, NORM_Q, is_q);
  if (normalise) {
    let all = select(WHOLE_K, WHOLE_Q, is_q);
    let first = select(start, start - head_of(head) * HEAD, all);
    let count = select(HEAD, select(KV_HEADS, HEADS, is_q) * HEAD, all);
    var squares = 0.0;
    for (var i = lane; i < count; i += LANES) {
      squares += qkv[first + i] * qkv[first + i];
    }
    scale = inverseSqrt(reduce_sum(squares, lane) / f32(count) + EPSILON);
  }
  for (var i = lane; i < HEAD / 2u; i += LANES) {
    // Pairs past the rotary part take the plain elements that are left.
    let rotated = i < ROTARY / 2u;
    var ia = 2u * i;
    var ib = 2u * i + 1u;
    var turn = vec2f(1.0, 0.0);
    if (rotated) {
      if (!INTERLEAVED) {
        ia = i;
        ib = i + ROTARY / 2u;
      }
      turn = table[position * (ROTARY / 2u) + i];
    }
    let a = qkv[start + ia] * scale * norm_weight(normalise, is_q, head, ia);
    let b = qkv[start + ib] * scale * norm_weight(normalise, is_q, head, ib);
    store(is_q, head, group.y, position, ia, a * turn.x - b * turn.y);
    store(is_q, head, group.y, position, ib, a * turn.y + b * turn.x);
  }
}

// Counted among the q heads or among the k heads.
fn head_of(head: u32) -> u32 {
  return select(head - HEADS, head, head < HEADS);
}

fn norm_weight(normalise: bool, is_q: bool, head: u32, i: u32) -> f32 {
  if (!normalise) {
    return 1.0;
  }
  let at = i + select(0u, head_of(head) * HEAD, select(WHOLE_K, WHOLE_Q, is_q));
  return weights[select(BASE_K, BASE_Q, is_q) + at / 4u][at % 4u];
}

fn store(is_q: bool, head: u32, t: u32, position: u32, i: u32, value: f32) {
  if (is_q) {
    q[(t * HEADS + head) * HEAD + i] = value;
  } else {
    keys[((head_of(head) * (HEAD / 4u) + i / 4u) * CONTEXT + position) * 4u + i % 4u] = value;
  }
}
