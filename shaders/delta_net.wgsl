// The gated delta rule (Yang et al. 2024, arXiv 2412.06464), token after token. A head's state S [KEY, VALUE] becomes
//   S ← g·S + k̂ ⊗ d,   d = β · (v − g·Sᵀk̂),   and   out = Sᵀq̂ / √KEY
//   g = exp(decay · softplus(alpha + bias)),   β = sigmoid(beta),   q̂ = q / max(|q|, EPSILON), k̂ likewise
// Sᵀk and Sᵀq are taken of the old state in one pass: new Sᵀq = g·Sᵀq + (k·q) d. At position 0 the state counts as zero.
//
// Grid: (VALUE / 4 / COLUMNS, HEADS). A workgroup owns 4 · COLUMNS columns of a head's state for all tokens of the
// replay. A lane keeps OWN = KEY / SPLITS rows of four of them in registers; the SPLITS lanes that share columns add up
// through workgroup memory, in a fixed order and by turns in two places, so that a token costs one barrier. With
// SPLITS = 1 there is none.
// Value head h reads key head h mod KEY_HEADS (TILED) or ⌊h · KEY_HEADS / HEADS⌋. Its alpha and beta lie in columns
// ALPHA and BETA of `gates`, plus h mod RUN, plus STEP for each RUN before it.
@group(0) @binding(0) var<storage, read> decay: array<f32>;            // the page; [HEADS] from vector DECAY
@group(0) @binding(1) var<storage, read> bias: array<f32>;             // the page; [HEADS] from vector BIAS
@group(0) @binding(2) var<storage, read> qkv: array<vec4f>;            // [tokens, KEY_HEADS · KEY (twice), HEADS · VALUE] / 4
@group(0) @binding(3) var<storage, read> gates: array<f32>;            // [tokens, GATE_COLS]
@group(0) @binding(4) var<storage, read_write> state: array<vec4f>;    // [HEADS, KEY, VALUE / 4]
@group(0) @binding(5) var<storage, read_write> out: array<vec4f>;      // [tokens, HEADS, VALUE / 4]

const LANES = COLUMNS * SPLITS;
const OWN = KEY / SPLITS;
const ROW = VALUE / 4u;
const Q_STRIDE = (2u * KEY_HEADS * KEY + HEADS * VALUE) / 4u;
const K_AT = KEY_HEADS * KEY / 4u;
const V_AT = 2u * K_AT;

// What a pass over old state, k and q gives.
struct Sums {
  sk: vec4f,   // Sᵀk
  sq: vec4f,   // Sᵀq
  dots: vec4f, // k·k, q·q, k·q
}

var<workgroup> parts: array<Sums, select(2u * LANES, 1u, SPLITS == 1u)>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (stopped()) {
    return;
  }
  let head = group.y;
  let key_head = select(head * KEY_HEADS / HEADS, head % KEY_HEADS, TILED);
  let column = group.x * COLUMNS + lane % COLUMNS;
  let first = lane / COLUMNS * OWN;
  let at = (head * KEY + first) * ROW + column;
  var s: array<vec4f, OWN>;
  if (params.position > 0u) {
    for (var i = 0u; i < OWN; i++) {
      s[i] = state[at + i * ROW];
    }
  }
  for (var t = 0u; t < params.tokens; t++) {
    let q_at = t * Q_STRIDE + (key_head * KEY + first) / 4u;
    var sums = Sums();
    for (var i = 0u; i < OWN / 4u; i++) {
      let q = qkv[q_at + i];
      let k = qkv[q_at + K_AT + i];
      sums.sk += k.x * s[4u * i] + k.y * s[4u * i + 1u] + k.z * s[4u * i + 2u] + k.w * s[4u * i + 3u];
      sums.sq += q.x * s[4u * i] + q.y * s[4u * i + 1u] + q.z * s[4u * i + 2u] + q.w * s[4u * i + 3u];
      sums.dots += vec4f(dot(k, k), dot(q, q), dot(k, q), 0.0);
    }
    sums = over_splits(sums, t, lane);

    let g = forget(t, head);
    let k_scale = 1.0 / max(sqrt(sums.dots.x), EPSILON);
    let q_scale = 1.0 / max(sqrt(sums.dots.y), EPSILON) / sqrt(f32(KEY));
    let v = qkv[t * Q_STRIDE + V_AT + head * ROW + column];
    let d = correction(t, head) * k_scale * (v - g * k_scale * sums.sk);
    for (var i = 0u; i < OWN / 4u; i++) {
      let k = qkv[q_at + K_AT + i];
      s[4u * i] = g * s[4u * i] + k.x * d;
      s[4u * i + 1u] = g * s[4u * i + 1u] + k.y * d;
      s[4u * i + 2u] = g * s[4u * i + 2u] + k.z * d;
      s[4u * i + 3u] = g * s[4u * i + 3u] + k.w * d;
    }
    if (first == 0u) {
      out[(t * HEADS + head) * ROW + column] = q_scale * (g * sums.sq + sums.dots.z * d);
    }
  }
  for (var i = 0u; i < OWN; i++) {
    state[at + i * ROW] = s[i];
  }
}

// The sums of the lanes that share columns.
fn over_splits(own: Sums, t: u32, lane: u32) -> Sums {
  if (SPLITS == 1u) {
    return own;
  }
  // A lane that is one token ahead writes the other half; it cannot be two ahead.
  let half = t % 2u * LANES;
  parts[half + lane] = own;
  workgroupBarrier();
  var sums = Sums();
  for (var i = lane % COLUMNS; i < LANES; i += COLUMNS) {
    sums.sk += parts[half + i].sk;
    sums.sq += parts[half + i].sq;
    sums.dots += parts[half + i].dots;
  }
  return sums;
}

fn gate_column(first: u32, head: u32) -> u32 {
  return first + head / RUN * STEP + head % RUN;
}

// β
fn correction(t: u32, head: u32) -> f32 {
  return 1.0 / (1.0 + exp(-gates[t * GATE_COLS + gate_column(BETA, head)]));
}

// g
fn forget(t: u32, head: u32) -> f32 {
  let alpha = gates[t * GATE_COLS + gate_column(ALPHA, head)] + bias[4u * BIAS + head];
  return exp(decay[4u * DECAY + head] * softplus(alpha));
}

// log(1 + exp(x)) = max(x, 0) + log(1 + e), e = exp(−|x|). WGSL's log is coarse near 1, so that part is the series of
// 2 artanh(e / (2 + e)), whose argument is at most 1/3.
fn softplus(x: f32) -> f32 {
  let e = exp(-abs(x));
  let z = e / (2.0 + e);
  let zz = z * z;
  var series = 1.0 / 15.0;
  for (var n = 13.0; n > 0.0; n -= 2.0) {
    series = series * zz + 1.0 / n;
  }
  return max(x, 0.0) + 2.0 * z * series;
}
