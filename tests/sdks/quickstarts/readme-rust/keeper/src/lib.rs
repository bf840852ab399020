//! A `#[tokio::main]` under which the program does not end when `main` returns.
//!
//! The published quick start registers its function and returns, which ends the
//! process before anybody could call it.  This lets its text be compiled unchanged
//! and still be called.

use proc_macro::TokenStream;

const MAIN: &str = "
fn main() {
    let runtime = ::real_tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        quickstart().await.unwrap();
        ::std::future::pending::<()>().await
    })
}";

#[proc_macro_attribute]
pub fn main(_: TokenStream, item: TokenStream) -> TokenStream {
    let renamed = item.to_string().replacen("fn main", "fn quickstart", 1);
    (renamed + MAIN).parse().unwrap()
}
