"""From the archive and back: new radiographs are found or sent, answered, and the answers stored beside them.

    archive   a DICOMweb archive: QIDO, WADO, STOW        config   what pacs.yaml may say
    node      a DIMSE node: C-ECHO and C-STORE in         queue    one row per radiograph, on disk
    peer      the place that results go by C-STORE        worker   moves each row from state to state
    listener  what keeps strangers from stopping the node metrics  counters and health over HTTP

Needs the extra `multimix[pacs]`. UIDs are logged and stored, names and other data of patients never.
"""
