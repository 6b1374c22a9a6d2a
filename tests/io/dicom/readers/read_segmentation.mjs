// Reads a Segmentation as OHIF does, with @cornerstonejs/adapters, and writes its label maps as JSON.
// node SCRIPT IMAGE SEGMENTATION OUT: [{label: run-lengths of pixels that carry it}, ...], one per layer.
import fs from 'fs';
import dcmjs from 'dcmjs';
import { metaData } from '@cornerstonejs/core';
import { adaptersSEG } from '@cornerstonejs/adapters';

const [, , imageFile, segmentationFile, out] = process.argv;
const bytes = (file) => Uint8Array.from(fs.readFileSync(file)).buffer;
const image = dcmjs.data.DicomMetaDictionary.naturalizeDataset(
  dcmjs.data.DicomMessage.readFile(bytes(imageFile)).dict
);
const id = 'file:image';
const modules = {
  instance: image,
  sopCommonModule: { sopInstanceUID: image.SOPInstanceUID },
  generalImageModule: { sopInstanceUID: image.SOPInstanceUID },
  generalSeriesModule: { seriesInstanceUID: image.SeriesInstanceUID, modality: image.Modality },
  // An image without a plane in space: what OHIF takes in its stead.
  imagePlaneModule: {
    rows: image.Rows, columns: image.Columns, frameOfReferenceUID: image.FrameOfReferenceUID,
    rowCosines: [1, 0, 0], columnCosines: [0, 1, 0], imageOrientationPatient: [1, 0, 0, 0, 1, 0],
    imagePositionPatient: [0, 0, 0], rowPixelSpacing: 1, columnPixelSpacing: 1,
  },
  imagePixelModule: { bitsAllocated: 8, bitsStored: 8, highBit: 7, samplesPerPixel: 1, pixelRepresentation: 0 },
};
const provider = { get: (kind, imageId) => (imageId === id ? modules[kind] : undefined) };
metaData.addProvider(provider.get, 1000);

async function main() {
  const found = await adaptersSEG.Cornerstone3D.Segmentation.createFromDICOMSegBuffer(
    [id], bytes(segmentationFile), { metadataProvider: provider, tolerance: 0.001 }
  );
  const layers = found.labelMapImages.map((layer) => {
    const values = [layer].flat()[0].voxelManager.getScalarData();
    const labels = {};
    for (let at = 0; at < values.length; ) {
      let end = at;
      while (end < values.length && values[end] === values[at]) end++;
      if (values[at]) (labels[values[at]] ??= []).push([at, end - at]);
      at = end;
    }
    return labels;
  });
  fs.writeFileSync(out, JSON.stringify({ segments: found.segMetadata.data.map((s) => s?.SegmentLabel ?? null), layers }));
  process.exit(0); // cornerstone leaves timers behind
}

main().catch((error) => {
  console.error(error?.stack ?? error);
  process.exit(1);
});
