"""What methods put around a backbone: heads, branches, moving averages, batch normalisation over ranks."""
