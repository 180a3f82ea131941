// SPLITS lanes, ROW_LANES apart, share a row. The first of them gets the sum, taken in a fixed order.
var<workgroup> split_sums: array<f32, LANES>;

fn sum_splits(value: f32, lane: u32) -> f32 {
  workgroupBarrier();
  split_sums[lane] = value;
  workgroupBarrier();
  var sum = 0.0;
  for (var s = 0u; s < SPLITS; s++) {
    sum += split_sums[lane % ROW_LANES + s * ROW_LANES];
  }
  return sum;
}
