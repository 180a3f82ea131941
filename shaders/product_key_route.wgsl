// Weights of the keys of both axes, for every head: softmax over the scores s of those kept, 0 for the others.
//   kept: (s − mean) / √(variance + EPSILON) ≥ LEAST, and the largest of the row, whatever it is
// Batch normalisation without weights: mean and variance are those of an axis and head that training left. They decide
// who is kept; the softmax takes scores as they are.
//
// Grid: (2 · HEADS, tokens). A workgroup owns a row: an axis and a head of a token. Lane l takes keys l, l + LANES, …
// Ties: all that are as large as the largest are kept.
// Where a normalised score is not a number it becomes its key's weight, so that what follows is no number either.
// Joined: reduce_*, is_number.
@group(0) @binding(0) var<storage, read> scores: array<f32>;          // [tokens, 2, HEADS, KEYS]
@group(0) @binding(1) var<storage, read> statistics: array<vec4f>;    // the page; [HEADS] from vectors MEAN_*, VARIANCE_*
@group(0) @binding(2) var<storage, read_write> weights: array<f32>;   // [tokens, 2, HEADS, KEYS]

const LOWEST = -3.4028234e38;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (stopped()) {
    return;
  }
  let axis = group.x / HEADS;
  let head = group.x % HEADS;
  let mean = statistics[select(MEAN_1, MEAN_2, axis == 1u) + head / 4u][head % 4u];
  let variance = statistics[select(VARIANCE_1, VARIANCE_2, axis == 1u) + head / 4u][head % 4u];
  let inverse = 1.0 / sqrt(variance + EPSILON);
  let row = (group.y * 2u * HEADS + group.x) * KEYS;
  var best = LOWEST;
  for (var k = lane; k < KEYS; k += LANES) {
    best = max(best, select(LOWEST, scores[row + k], is_number(scores[row + k])));
  }
  let top = reduce_max(best, lane);
  var sum = 0.0;
  for (var k = lane; k < KEYS; k += LANES) {
    let s = scores[row + k];
    sum += mass(s, top, (s - mean) * inverse);
  }
  let all = reduce_sum(sum, lane);
  for (var k = lane; k < KEYS; k += LANES) {
    let s = scores[row + k];
    let normed = (s - mean) * inverse;
    weights[row + k] = select(normed, mass(s, top, normed) / all, is_number(normed));
  }
}

fn mass(s: f32, top: f32, normed: f32) -> f32 {
  let kept = s >= top || normed >= LEAST;
  return select(0.0, exp(s - top), kept && is_number(normed));
}
