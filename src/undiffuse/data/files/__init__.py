"""Files and folders of data: which there are, what they are called, and what one of them holds."""
