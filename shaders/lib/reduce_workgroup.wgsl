// LANES lanes, a power of two, whatever the subgroup size: halving in workgroup memory.
var<workgroup> reduce_f32: array<f32, LANES>;
var<workgroup> reduce_u32: array<u32, LANES>;
var<workgroup> shared_values: array<f32, SHARED * LANES>;

fn reduce_sum(value: f32, lane: u32) -> f32 {
  reduce_f32[lane] = value;
  workgroupBarrier();
  for (var stride = LANES / 2u; stride > 0u; stride /= 2u) {
    if (lane < stride) {
      reduce_f32[lane] += reduce_f32[lane + stride];
    }
    workgroupBarrier();
  }
  return workgroupUniformLoad(&reduce_f32[0]);
}

fn reduce_max(value: f32, lane: u32) -> f32 {
  reduce_f32[lane] = value;
  workgroupBarrier();
  for (var stride = LANES / 2u; stride > 0u; stride /= 2u) {
    if (lane < stride) {
      reduce_f32[lane] = max(reduce_f32[lane], reduce_f32[lane + stride]);
    }
    workgroupBarrier();
  }
  return workgroupUniformLoad(&reduce_f32[0]);
}

fn reduce_min_u32(value: u32, lane: u32) -> u32 {
  reduce_u32[lane] = value;
  workgroupBarrier();
  for (var stride = LANES / 2u; stride > 0u; stride /= 2u) {
    if (lane < stride) {
      reduce_u32[lane] = min(reduce_u32[lane], reduce_u32[lane + stride]);
    }
    workgroupBarrier();
  }
  return workgroupUniformLoad(&reduce_u32[0]);
}

fn reduce_sum_u32(value: u32, lane: u32) -> u32 {
  reduce_u32[lane] = value;
  workgroupBarrier();
  for (var stride = LANES / 2u; stride > 0u; stride /= 2u) {
    if (lane < stride) {
      reduce_u32[lane] += reduce_u32[lane + stride];
    }
    workgroupBarrier();
  }
  return workgroupUniformLoad(&reduce_u32[0]);
}

// shared_value(i, k): what lane k last passed as value i. Values are shared between share and unshare.
fn share(values: array<f32, SHARED>, lane: u32) {
  for (var i = 0u; i < SHARED; i++) {
    shared_values[i * LANES + lane] = values[i];
  }
  workgroupBarrier();
}

fn shared_value(i: u32, of_lane: u32) -> f32 {
  return shared_values[i * LANES + of_lane];
}

fn unshare() {
  workgroupBarrier();
}
