"""From the archive and back: new radiographs are found or sent, answered, and the answers stored beside them.

    archive     a DICOMweb archive: QIDO, WADO, STOW       config      what pacs.yaml may say
    wire        limits on each of its exchanges            queue       one row per radiograph, on disk
    node        a DIMSE node: C-ECHO and C-STORE in        rows        the queue, to be looked at
    listener    what keeps strangers from stopping it      worker      moves each row from state to state
    peer        the place that results go by C-STORE       patience    what is tried again, and when
    peers       several of them as one                     answerer    from an image to its results
    commitment  what a peer promises to keep               results     their kinds, and what stands in for one
    tls         DICOM over TLS                             outcomes    what can come of talking to an archive
    metrics     counters and health over HTTP              events      what happens, for those who are told
    audit       DICOM audit messages                       service     puts the parts together

Needs the extra `multimix[pacs]`. UIDs are logged and stored, names and other data of patients never; Patient IDs in the
audit log alone.
"""
