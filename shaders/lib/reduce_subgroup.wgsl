// A workgroup is exactly one subgroup of LANES lanes: no barrier, no workgroup memory.
fn reduce_sum(value: f32, lane: u32) -> f32 {
  return subgroupAdd(value);
}

fn reduce_max(value: f32, lane: u32) -> f32 {
  return subgroupMax(value);
}

fn reduce_min_u32(value: u32, lane: u32) -> u32 {
  return subgroupMin(value);
}

fn reduce_sum_u32(value: u32, lane: u32) -> u32 {
  return subgroupAdd(value);
}

// shared_value(i, k): what lane k last passed as value i. Values are shared between the two calls below.
fn share(values: array<f32, SHARED>, lane: u32) {
  shared_values = values;
}

fn shared_value(i: u32, of_lane: u32) -> f32 {
  return subgroupShuffle(shared_values[i], of_lane);
}

fn unshare() {}

var<private> shared_values: array<f32, SHARED>;
