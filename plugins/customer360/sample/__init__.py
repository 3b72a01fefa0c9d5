"""Sample feeds: a generated shop whose truth is known, and the CDNOW order log."""

from customer360.sample.cdnow import convert_cdnow
from customer360.sample.generator import generate
from customer360.sample.manifest import SampleError, SampleFile, SampleManifest, load_manifest

__all__ = ["SampleError", "SampleFile", "SampleManifest", "convert_cdnow", "generate", "load_manifest"]
