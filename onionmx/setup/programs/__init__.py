"""What each program needs: a module for each, which makes texts of texts and opens nothing."""
