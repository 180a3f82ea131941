// SPLITS lanes, ROW_LANES apart, share their rows. The first of them gets the sum, taken in a fixed order.
var<workgroup> split_sums: array<vec2f, LANES>;

fn sum_splits(value: vec2f, lane: u32) -> vec2f {
  workgroupBarrier();
  split_sums[lane] = value;
  workgroupBarrier();
  var sum = vec2f();
  for (var s = 0u; s < SPLITS; s++) {
    sum += split_sums[lane % ROW_LANES + s * ROW_LANES];
  }
  return sum;
}
