#![no_std]
//! What both halves of Observer must agree on, one file per concept.
