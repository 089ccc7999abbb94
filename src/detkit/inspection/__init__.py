"""What a file or folder is: artifacts, reports, run folders. Neither torch nor numpy needed."""
