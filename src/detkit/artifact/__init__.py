"""Files that say what they are: manifest, digest, and the write that is whole or not at all."""
