"""The 2D baseline that learns: Zakharov et al. 2019."""
