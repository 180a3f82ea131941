// The 16 levels of IQ4_NL and IQ4_XS, from −127 to 113.
const IQ4_LEVELS = vec4u(0xbfad9881u, 0xf6eaddcfu, 0x26190d01u, 0x71594535u);
