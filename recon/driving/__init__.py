"""An avatar driven live: where frames come from, and where codes and pictures go."""
