//! What backends and programs are tested with: a faulty store and the conformance kit.
