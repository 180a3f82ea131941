// Per head of one token: clamp (where CLAMPED), normalise (where NORM_Q, NORM_K), rotate, and put q into its buffer,
// k and v into the cache at the token's position. v is only clamped. Where NORMS_AFTER, what is rotated is normalised.
//   norm:  x · w / sqrt(mean(x²) + EPSILON), w = 1 unless WEIGHTED_Q, WEIGHTED_K
//   pair i of a rotated head:  (a, b) → m·(a·cos − b·sin, a·sin + b·cos), angle = position · frequency[i]
//   q, last of all, where TEMPERED:  · (1 + TEMPERATURE · ln(floor((position + OFFSET) / LENGTH) + 1))
// The table holds m·cos and m·sin, made in float64 on the host: WGSL's own sin is too coarse.
//
// Grid: (HEADS + 2 · KV_HEADS, tokens). A workgroup owns a head: q heads, then k heads, then v heads.
// In a row of qkv head h of q is at h · Q_STEP, of k at K_AT + h · HEAD, of v at V_AT + h · VALUE.
// Where WHOLE_Q, WHOLE_K the norm is over all q or k heads of the token as one vector, which each head sums anew.
// Pairs are (i, i + ROTARY / 2), or (2i, 2i + 1) where INTERLEAVED; elements past ROTARY pass unrotated.
// Joined: reduce_*.
@group(0) @binding(0) var<storage, read> weights: array<vec4f>;       // the page; norm weights at BASE_Q, BASE_K
@group(0) @binding(1) var<storage, read> qkv: array<f32>;             // [tokens, COLUMNS]
@group(0) @binding(2) var<storage, read> table: array<vec2f>;         // [context, ROTARY / 2] (cos, sin)
@group(0) @binding(3) var<storage, read_write> q: array<f32>;         // [tokens, HEADS, HEAD]
@group(0) @binding(4) var<storage, read_write> keys: array<f32>;      // [KV_HEADS, HEAD / 4, CONTEXT, 4]
@group(0) @binding(5) var<storage, read_write> values: array<f32>;    // [KV_HEADS, CONTEXT, VALUE]

const PAIRS = HEAD / 2u;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (stopped()) {
    return;
  }
  let head = group.x;
  let row = group.y * COLUMNS;
  let position = params.position + group.y;
  let is_q = head < HEADS;
  let is_v = head >= HEADS + KV_HEADS;
  if (is_v) {
    let v_head = head - HEADS - KV_HEADS;
    let to = (v_head * CONTEXT + position) * VALUE;
    for (var i = lane; i < VALUE; i += LANES) {
      values[to + i] = input(row + V_AT + v_head * VALUE + i);
    }
    return;
  }
  let all = row + select(K_AT, 0u, is_q);
  let stride = select(HEAD, Q_STEP, is_q);
  let start = all + head_of(head) * stride;
  var scale = 1.0;
  if (select(NORM_K, NORM_Q, is_q)) {
    let whole = select(WHOLE_K, WHOLE_Q, is_q);
    let first = select(start, all, whole);
    let heads = select(1u, select(KV_HEADS, HEADS, is_q), whole);
    let squares = squares_of(first, heads, stride, position, lane);
    scale = inverseSqrt(reduce_sum(squares, lane) / f32(heads * HEAD) + EPSILON);
  }
  for (var i = lane; i < PAIRS; i += LANES) {
    let at = pair(i);
    let weight = vec2f(norm_weight(is_q, head, at.x), norm_weight(is_q, head, at.y));
    var x = vec2f(input(start + at.x), input(start + at.y));
    if (NORMS_AFTER) {
      x = rotated(i, position, x) * scale * weight;
    } else {
      x = rotated(i, position, x * scale * weight);
    }
    if (TEMPERED && is_q) {
      x *= 1.0 + TEMPERATURE * log(f32((position + OFFSET) / LENGTH + 1u));
    }
    store(is_q, head, group.y, position, at.x, x.x);
    store(is_q, head, group.y, position, at.y, x.y);
  }
}

fn input(i: u32) -> f32 {
  if (CLAMPED) {
    return clamp(qkv[i], -CLAMP, CLAMP);
  }
  return qkv[i];
}

// This lane's share of the sum of squares that a norm over `heads` heads takes.
fn squares_of(first: u32, heads: u32, stride: u32, position: u32, lane: u32) -> f32 {
  var squares = 0.0;
  if (NORMS_AFTER) {
    for (var i = lane; i < heads * PAIRS; i += LANES) {
      let start = first + i / PAIRS * stride;
      let at = pair(i % PAIRS);
      let x = rotated(i % PAIRS, position, vec2f(input(start + at.x), input(start + at.y)));
      squares += dot(x, x);
    }
    return squares;
  }
  for (var i = lane; i < heads * HEAD; i += LANES) {
    var at = first + i;
    if (Q_STEP != HEAD) {
      at = first + i / HEAD * stride + i % HEAD;
    }
    squares += input(at) * input(at);
  }
  return squares;
}

// The elements of a head that are pair i. Pairs past the rotary part take the plain elements that are left.
fn pair(i: u32) -> vec2u {
  if (!INTERLEAVED && i < ROTARY / 2u) {
    return vec2u(i, i + ROTARY / 2u);
  }
  return vec2u(2u * i, 2u * i + 1u);
}

fn rotated(i: u32, position: u32, x: vec2f) -> vec2f {
  var turn = vec2f(1.0, 0.0);
  if (i < ROTARY / 2u) {
    turn = table[position * (ROTARY / 2u) + i];
  }
  return vec2f(x.x * turn.x - x.y * turn.y, x.x * turn.y + x.y * turn.x);
}

// Counted among the q heads or among the k heads.
fn head_of(head: u32) -> u32 {
  return select(head - HEADS, head, head < HEADS);
}

fn norm_weight(is_q: bool, head: u32, i: u32) -> f32 {
  if (!select(WEIGHTED_K, WEIGHTED_Q, is_q)) {
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
