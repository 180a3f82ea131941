// 32 nibbles as indexes of 16 signed bytes: selected, since hardware keeps an array that is indexed in slow memory.
fn levels32(q: vec4u, table: vec4u) -> array<vec4f, 8> {
  return array<vec4f, 8>(
    levels(q.x, table),
    levels(q.y, table),
    levels(q.z, table),
    levels(q.w, table),
    levels(q.x >> 4u, table),
    levels(q.y >> 4u, table),
    levels(q.z >> 4u, table),
    levels(q.w >> 4u, table),
  );
}

fn levels(nibbles: u32, table: vec4u) -> vec4f {
  let i = vec4u(nibbles) >> vec4u(0u, 8u, 16u, 24u);
  let has4 = (i & vec4u(4u)) != vec4u();
  let low = select(vec4u(table.x), vec4u(table.y), has4);
  let high = select(vec4u(table.z), vec4u(table.w), has4);
  let word = select(low, high, (i & vec4u(8u)) != vec4u());
  return vec4f(bitcast<vec4i>(word << (8u * (~i & vec4u(3u)))) >> vec4u(24u));
}
