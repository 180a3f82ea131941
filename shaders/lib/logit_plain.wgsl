fn logit(l: f32, e: u32) -> f32 {
  return l;
}
