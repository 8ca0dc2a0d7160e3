// Load the nuclei of nucleipel into the image that is open in QuPath, and set its pixel size.
// QuPath 0.5 or newer: Automate > Script editor, choose the folder of the results below, Run.

def out = "/path/to/OUT"  // the folder of `nucleipel segment` or `stitch`

def image = getCurrentImageNameWithoutExtension().replaceAll(/\.ome$/, "")
def file = buildFilePath(out, image, "nuclei.geojson")
importObjectsFromFile(file)

// nuclei have both measurements where the pixel size was known
def known = getAllObjects().find { it.measurementList.get("area_um2") > 0 }
if (known != null) {
    def list = known.measurementList
    def mpp = Math.sqrt(list.get("area_um2") / list.get("area_px"))
    setPixelSizeMicrons(mpp, mpp)
    println "Pixel size: $mpp um"
}
println "Loaded $file"
