//! From the integer that the kernel stamps to the attributes that people know.
