"""Cryptographic algorithms (crypto/algapi.c and its kin), 6.1: registered by name, and found by name.

Nothing is computed: whoever asks for an algorithm that a module has registered, or that the kernel has built in, gets
an object that stands for it; what is not there is not found, as where the module that has it is not loaded.
"""

from __future__ import annotations

from kmem.abi.gfp import __GFP_ZERO, GFP_KERNEL
from kmem.kapi import registry
from kmem.kapi.errno import EEXIST, EINVAL, ENOENT, ENOMEM, err_ptr, is_err
from kmem.kapi.export import export, family, simplified
from kmem.kapi.fields import at, text
from kmem.kapi.host import Host

_NAMED = simplified("it is known by name, type and mask apart; it is not tested and nothing uses it")
_STANDS = simplified("found by name; an object that stands for the algorithm and computes nothing")
_KIND, _TEMPLATE = "crypto_alg", "crypto_template"
BUILT_IN = frozenset(
    """aes md5 sha1 sha224 sha256 cipher_null digest_null ecb(cipher_null) compress_null rsa dh deflate zlib-deflate lzo
    lzo-rle stdrng cbc(aes) ctr(aes) ecb(aes) hmac(md5) hmac(sha1) hmac(sha224) hmac(sha256) pkcs1pad(rsa)
    pkcs1pad(rsa,sha1) pkcs1pad(rsa,sha256) sha1-generic sha256-generic sha224-generic md5-generic aes-generic
    dh-generic rsa-generic deflate-generic lzo-generic drbg_nopr_hmac_sha256 drbg_pr_hmac_sha256""".split()
)
"""What Debian's kernels have built in; the rest is in modules."""
TFM_SIZE = 1024


def _named(k: Host, alg: int) -> tuple[bytes, bytes]:
    return (
        k.mem.cstr(at(k, "crypto_alg", alg, "cra_name"), 128),
        k.mem.cstr(at(k, "crypto_alg", alg, "cra_driver_name"), 128),
    )


def known(k: Host, name: bytes) -> bool:
    """Whether there is an algorithm of that name."""
    if name.decode("ascii", "replace") in BUILT_IN:
        return True
    if any(name in _named(k, alg) for alg in registry.things(k, _KIND)):
        return True
    head, bracket, inner = name.partition(b"(")
    templates = {k.mem.cstr(at(k, "crypto_template", made, "name"), 128) for made in registry.things(k, _TEMPLATE)}
    return bool(bracket) and head in templates and known(k, inner.removesuffix(b")").split(b",")[0])


def _register(k: Host, alg: int) -> int:
    name, driver = _named(k, alg)
    if not name or not driver:
        return -EINVAL
    if any(driver == _named(k, other)[1] for other in registry.things(k, _KIND)) or registry.holds(k, _KIND, alg):
        return -EEXIST
    return 0 if registry.add(k, _KIND, alg) else -ENOMEM


def _base(k: Host, struct: str) -> int:
    """Where the ``struct crypto_alg`` lies in what is registered."""
    if struct == "crypto_alg":
        return 0
    members = k.layout[struct].members
    if "base" in members:
        return members["base"].offset
    return members["halg"].offset + k.layout["hash_alg_common"].offset("base")


def _declare(stem: str, struct: str, *, many: str = "") -> None:
    where = "crypto, 6.1."

    def register(k: Host, alg: int) -> int:
        return _register(k, alg + _base(k, struct))

    def unregister(k: Host, alg: int) -> int:
        return 0 if registry.remove(k, _KIND, alg + _base(k, struct)) else -ENOENT

    family(_NAMED, f"int crypto_register_{stem}(struct {struct} *alg)", where, register)
    family(_NAMED, f"void crypto_unregister_{stem}(struct {struct} *alg)", where, unregister)
    if not many:
        return

    def register_all(k: Host, algs: int, count: int) -> int:
        size = k.layout[struct].size
        for number in range(count):
            error = register(k, algs + number * size)
            if error:
                unregister_all(k, algs, number)
                return error
        return 0

    def unregister_all(k: Host, algs: int, count: int) -> None:
        for number in reversed(range(count)):
            unregister(k, algs + number * k.layout[struct].size)

    family(_NAMED, f"int crypto_register_{many}(struct {struct} *algs, int count)", where, register_all)
    family(_NAMED, f"void crypto_unregister_{many}(struct {struct} *algs, int count)", where, unregister_all)


_declare("alg", "crypto_alg", many="algs")
_declare("shash", "shash_alg", many="shashes")
_declare("ahash", "ahash_alg", many="ahashes")
_declare("skcipher", "skcipher_alg", many="skciphers")
_declare("aead", "aead_alg", many="aeads")
_declare("rng", "rng_alg", many="rngs")
_declare("scomp", "scomp_alg", many="scomps")
_declare("acomp", "acomp_alg", many="acomps")
_declare("akcipher", "akcipher_alg")
_declare("kpp", "kpp_alg")


@export(_NAMED)
def crypto_register_template(k: Host, tmpl: int) -> int:
    """``int crypto_register_template(struct crypto_template *tmpl)``

    crypto/algapi.c, 6.1. -EEXIST for a name that is taken.
    """
    name = k.mem.cstr(at(k, "crypto_template", tmpl, "name"), 128)
    for other in registry.things(k, _TEMPLATE):
        if k.mem.cstr(at(k, "crypto_template", other, "name"), 128) == name:
            return -EEXIST
    return 0 if registry.add(k, _TEMPLATE, tmpl) else -ENOMEM


@export(_NAMED)
def crypto_unregister_template(k: Host, tmpl: int) -> None:
    """``void crypto_unregister_template(struct crypto_template *tmpl)``

    crypto/algapi.c, 6.1.
    """
    registry.remove(k, _TEMPLATE, tmpl)


@export(_NAMED)
def crypto_register_templates(k: Host, tmpls: int, count: int) -> int:
    """``int crypto_register_templates(struct crypto_template *tmpls, int count)``

    crypto/algapi.c, 6.1. All of them, or none.
    """
    size = k.layout["crypto_template"].size
    for number in range(count):
        error = crypto_register_template(k, tmpls + number * size)
        if error:
            crypto_unregister_templates(k, tmpls, number)
            return error
    return 0


@export(_NAMED)
def crypto_unregister_templates(k: Host, tmpls: int, count: int) -> None:
    """``void crypto_unregister_templates(struct crypto_template *tmpls, int count)``

    crypto/algapi.c, 6.1.
    """
    for number in reversed(range(count)):
        crypto_unregister_template(k, tmpls + number * k.layout["crypto_template"].size)


@export(_NAMED)
def crypto_lookup_template(k: Host, name: int) -> int:
    """``struct crypto_template *crypto_lookup_template(const char *name)``

    crypto/algapi.c, 6.1. NULL if there is none.
    """
    wanted = text(k, name)
    for tmpl in registry.things(k, _TEMPLATE):
        if k.mem.cstr(at(k, "crypto_template", tmpl, "name"), 128) == wanted:
            return tmpl
    return 0


# asking for one


def _has(k: Host, name: int, kind: int, mask: int) -> int:
    return int(known(k, text(k, name)))


def _alloc(k: Host, name: int, *more: int) -> int:
    if not known(k, text(k, name)):
        return err_ptr(-ENOENT)
    return k.mm.kmalloc(TFM_SIZE, GFP_KERNEL | __GFP_ZERO, -1, k.caller) or err_ptr(-ENOMEM)


def _finders() -> None:
    arguments = "(const char *alg_name, u32 type, u32 mask)"
    for kind in ("shash", "ahash", "skcipher", "sync_skcipher", "aead", "rng", "acomp", "akcipher", "kpp"):
        prototype = f"struct crypto_{kind} *crypto_alloc_{kind}{arguments}"
        family(
            _STANDS, prototype, "crypto, 6.1. An error pointer: -ENOENT for a name that nobody has registered.", _alloc
        )
    family(_STANDS, f"struct crypto_tfm *crypto_alloc_base{arguments}", "crypto/api.c, 6.1. As above.", _alloc)
    for name in ("crypto_has_alg", "crypto_has_ahash", "crypto_has_shash", "crypto_has_skcipher", "crypto_has_kpp"):
        family(_NAMED, f"int {name}{arguments}", "crypto, 6.1. Whether there is an algorithm of that name.", _has)


_finders()


@export(_STANDS)
def crypto_destroy_tfm(k: Host, mem: int, tfm: int) -> None:
    """``void crypto_destroy_tfm(void *mem, struct crypto_tfm *tfm)``

    crypto/api.c, 6.1. NULL and error pointers are allowed.
    """
    if mem and not is_err(mem):
        k.mm.kfree(mem)


@export(simplified("a queue that stays empty"))
def crypto_init_queue(k: Host, queue: int, max_qlen: int) -> None:
    """``void crypto_init_queue(struct crypto_queue *queue, unsigned int max_qlen)``

    crypto/algapi.c, 6.1. {list, backlog, length, maximum}
    """
    k.mem.set_u64(queue, queue)
    k.mem.set_u64(queue + 8, queue)
    k.mem.set_u64(queue + 16, queue)
    k.mem.set_u32(queue + 24, 0)
    k.mem.set_u32(queue + 28, max_qlen)
