#[doc = include_str!("../../README.md")]
mod start {}

#[doc = include_str!("../../docs/porting-from-cn-infra.md")]
mod porting {}
