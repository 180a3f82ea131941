fn logit(t: u32, e: u32) -> f32 {
  let is_named = ((request[NAMED + e / 32u] >> (e % 32u)) & 1u) == 1u;
  return select(-CHOSEN, CHOSEN, is_named);
}
