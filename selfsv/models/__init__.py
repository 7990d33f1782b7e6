"""Speaker encoders and the heads that training puts on them."""
