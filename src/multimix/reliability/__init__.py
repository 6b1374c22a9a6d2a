"""How far predictions may be believed: calibration, prediction sets, out-of-distribution detection."""
