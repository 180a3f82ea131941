// Where no expert can be without a slot.
fn stopped() -> bool {
  return false;
}
