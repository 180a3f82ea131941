// A step does nothing once a route step before it met an expert without a slot.
@group(0) @binding(7) var<storage, read> fault: u32; // the lowest such site; ABSENT: there is none

fn stopped() -> bool {
  return fault != 0xffffffffu;
}
