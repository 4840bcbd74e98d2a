;;; smtps-wire-echo.el --- Read values from a socket and print them back  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; The other half of tests/python/rpc/test_codec.py: the file name of a
;; local socket comes on the command line; each line that comes from it is
;; read, printed and sent back, or answered "refused".

;;; Code:

(require 'smtps-wire)

(defvar smtps-wire-echo--rest nil
  "What was left over of the stream.")

(defun smtps-wire-echo--line (line)
  "Return what LINE of the stream is answered with."
  (condition-case nil
      (smtps-wire-encode (smtps-wire-read (smtps-wire-decode line)))
    (smtps-wire-error "refused")))

(defun smtps-wire-echo (socket)
  "Answer what comes from the file name SOCKET until it is closed."
  (let ((process
         (make-network-process
          :name "echo" :family 'local :service socket :coding 'binary
          :noquery t
          :filter
          (lambda (process octets)
            (pcase-let ((`(,lines . ,rest)
                         (smtps-wire-split smtps-wire-echo--rest octets)))
              (setq smtps-wire-echo--rest rest)
              (dolist (line lines)
                (process-send-string process (concat (smtps-wire-echo--line line)
                                                     "\n"))))))))
    (while (process-live-p process)
      (accept-process-output process 1))))

(smtps-wire-echo (pop command-line-args-left))

;;; smtps-wire-echo.el ends here
