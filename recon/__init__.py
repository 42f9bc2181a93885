"""Photos or video to an avatar: capture, tracking, fitting, the learned prior, benchmarks."""
