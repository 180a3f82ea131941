// What the second matrices of product-key experts are multiplied with, summed over the heads h. w are the keys' weights
// on an axis, a what the first matrices gave of a key k and unit u:
//   inner[h, u]       = Σ_k w[source, h, k] · a[source, k, u]
//   mixed[part, k, u] = Σ_h w[axis, h, k] · (a[source, k, u] where axis = source, else inner[h, u])
// The parts: VERTICAL, each axis as `axis` with each as `source`, (0, 0), (0, 1), (1, 0), (1, 1); else the axis 1 with
// the source 0 alone. Behind them in a row, for each axis of a part, Σ_h w[axis, h, k]: what its biases are multiplied with.
//
// Grid: (BLOCKS, tokens). Every workgroup of a token makes all of `inner`, then its share of the row: lane l takes each
// (BLOCKS · LANES)-th element. Keys of weight 0, which most are, cost a load.
@group(0) @binding(0) var<storage, read> weights: array<f32>;         // [tokens, 2, HEADS, KEYS]
@group(0) @binding(1) var<storage, read> hidden: array<f32>;          // a [tokens, SOURCES, KEYS, UNITS]
@group(0) @binding(2) var<storage, read_write> mixed: array<f32>;     // [tokens, ROW]: parts, sums, padding

const SOURCES = select(1u, 2u, VERTICAL);
const PARTS = SOURCES * SOURCES;
const PART = KEYS * UNITS;

var<workgroup> inner: array<f32, SOURCES * HEADS * UNITS>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (stopped()) {
    return;
  }
  let t = group.y;
  for (var i = lane; i < SOURCES * HEADS * UNITS; i += LANES) {
    let source = i / (HEADS * UNITS);
    let start = (t * SOURCES + source) * PART + i % UNITS;
    let row = weight_row(t, source, i / UNITS % HEADS);
    var sum = 0.0;
    for (var k = 0u; k < KEYS; k++) {
      let w = weights[row + k];
      if (w != 0.0) {
        sum += w * hidden[start + k * UNITS];
      }
    }
    inner[i] = sum;
  }
  workgroupBarrier();

  for (var i = group.x * LANES + lane; i < PARTS * PART; i += BLOCKS * LANES) {
    let part = i / PART;
    let source = part % SOURCES;
    let axis = select(1u, part / SOURCES, VERTICAL);
    let k = i % PART / UNITS;
    let unit = i % UNITS;
    var sum = 0.0;
    for (var h = 0u; h < HEADS; h++) {
      let w = weights[weight_row(t, axis, h) + k];
      if (w != 0.0) {
        sum += w * select(inner[(source * HEADS + h) * UNITS + unit], 1.0, axis == source);
      }
    }
    if (axis == source) {
      sum *= hidden[(t * SOURCES + source) * PART + i % PART];
    }
    mixed[t * ROW + i] = sum;
  }
  for (var i = group.x * LANES + lane; i < SOURCES * KEYS; i += BLOCKS * LANES) {
    let axis = select(1u, i / KEYS, VERTICAL);
    var sum = 0.0;
    for (var h = 0u; h < HEADS; h++) {
      sum += weights[weight_row(t, axis, h) + i % KEYS];
    }
    mixed[t * ROW + PARTS * PART + i] = sum;
  }
}

fn weight_row(t: u32, axis: u32, head: u32) -> u32 {
  return ((t * 2u + axis) * HEADS + head) * KEYS;
}
