//! Writing many keys fast, in batches that are not one transaction.
