"""What is quantized and how, decided once on the frozen graph and lowered by every format."""
