//! A QEMU TCG plugin that counts instructions and coherence events.

