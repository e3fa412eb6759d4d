//! pmi-adapter
