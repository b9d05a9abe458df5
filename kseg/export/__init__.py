"""What export needs: converting, looking into the file, and proving it right."""
