"""What is watched while a run trains."""
