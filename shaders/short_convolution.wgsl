// y[t, c] = act(Σ_i w[c, i] · u[t − (TAPS − 1) + i, c]),  u[t, c] = x[t, INPUT + c]
//   GATE_IN:  u[t, c] = x[t, GATE_IN_AT + c] · x[t, INPUT + c]
//   GATE_OUT: y[t, c] is multiplied by x[t, GATE_OUT_AT + c]
//   act is silu where SILU
// A causal convolution over time, each channel for itself. `state` holds the last TAPS − 1 of u, oldest first; before a
// sequence, that is at position 0, they count as zeros.
//
// Grid: (CHANNELS / LANES, tokens / TILE). A lane owns a channel of TILE tokens, TILE ≥ TAPS − 1. Only the lanes of the
// first tile touch the state: they read it, and leave in it what the last tokens of the replay are.
@group(0) @binding(0) var<storage, read> weights: array<f32>;         // the page; w [CHANNELS, TAPS] from vector BASE
@group(0) @binding(1) var<storage, read> x: array<f32>;               // [tokens, COLS]
@group(0) @binding(2) var<storage, read_write> state: array<f32>;     // [TAPS − 1, CHANNELS]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;         // [tokens, CHANNELS]

const KEPT = TAPS - 1u;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (stopped()) {
    return;
  }
  let channel = group.x * LANES + lane;
  if (channel >= CHANNELS) {
    return;
  }
  let first = group.y * TILE;
  // The last is the token in hand.
  var seen: array<f32, TAPS>;
  for (var i = 0u; i < KEPT; i++) {
    if (first > 0u) {
      seen[i + 1u] = input(first - KEPT + i, channel);
    } else if (params.position > 0u) {
      seen[i + 1u] = state[i * CHANNELS + channel];
    }
  }
  var taps: array<f32, TAPS>;
  for (var i = 0u; i < TAPS; i++) {
    taps[i] = weights[4u * BASE + channel * TAPS + i];
  }
  for (var t = first; t < min(first + TILE, params.tokens); t++) {
    for (var i = 0u; i < KEPT; i++) {
      seen[i] = seen[i + 1u];
    }
    seen[KEPT] = input(t, channel);
    var sum = 0.0;
    for (var i = 0u; i < TAPS; i++) {
      sum += taps[i] * seen[i];
    }
    if (SILU) {
      sum /= 1.0 + exp(-sum);
    }
    if (GATE_OUT) {
      sum *= x[t * COLS + GATE_OUT_AT + channel];
    }
    y[t * CHANNELS + channel] = sum;
  }
  if (first == 0u) {
    for (var i = 0u; i < KEPT; i++) {
      if (params.tokens > TILE) {
        seen[i + 1u] = input(params.tokens - KEPT + i, channel);
      }
      state[i * CHANNELS + channel] = seen[i + 1u];
    }
  }
}

fn input(t: u32, channel: u32) -> f32 {
  var value = x[t * COLS + INPUT + channel];
  if (GATE_IN) {
    value *= x[t * COLS + GATE_IN_AT + channel];
  }
  return value;
}
