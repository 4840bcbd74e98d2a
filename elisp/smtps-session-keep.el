;;; smtps-session-keep.el --- Keep a session as text, and read it again  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; A transcript has a header as mails have one, an empty line, and the
;; dialogue, a line a line:
;;
;;   smtps transcript 1
;;   Host: localhost
;;   Port: 465
;;   TLS: implicit
;;   Date: 2026-11-24 09:42:18 UTC
;;
;;          - Handshake was completed
;;        3 recv> 220 sandbox.localhost ESMTP Service ready
;;     1207 send> ehlo localhost.localdomain
;;
;; The number is milliseconds since the session began.  What neither recv> nor
;; send> stands before tells about the connection.  Secrets never come as far
;; as the buffer.  The command line writes and reads the same, in
;; smtps/protocol/transcript.py; a transcript in the tests is read by both.

;;; Code:

(require 'cl-lib)
(require 'smtps-session)

(defconst smtps-session-keep--first "smtps transcript 1"
  "What the file begins with: what it is, and the version of its form.")

;;;; Writing

(defun smtps-session-keep--tls ()
  "Return the way of TLS of this session, a symbol, or nil if it is not known."
  (or (plist-get smtps-session--arguments :tls)
      (pcase (plist-get smtps-session--arguments :port)
        (465 'implicit)
        (587 'starttls))))

(defun smtps-session-keep--head ()
  "Return the header of this session's transcript."
  (let ((tls (smtps-session-keep--tls)))
    (concat
     smtps-session-keep--first
     (format "\nHost: %s\nPort: %s\n" (plist-get smtps-session--arguments :host)
             (plist-get smtps-session--arguments :port))
     (and tls (format "TLS: %s\n" tls))
     (format-time-string "Date: %F %T UTC\n\n" (cdr smtps-session--began) t))))

(defun smtps-session-keep--body ()
  "Return the dialogue over the last connection of this session, with its times."
  (save-excursion
    (let ((inhibit-field-text-motion t) lines)
      (goto-char (car smtps-session--began))
      (while (< (point) smtps-session--prompt-start)
        (push (format "%6s %s\n" (or (get-text-property (point) 'smtps-session-at) "")
                      (buffer-substring-no-properties (point) (line-end-position)))
              lines)
        (forward-line 1))
      (string-join (nreverse lines)))))

(defun smtps-session-keep--assert-session ()
  "Signal an error unless this is a session's buffer."
  (unless (derived-mode-p 'smtps-session-mode)
    (user-error "This is not a session buffer")))

(defun smtps-session-keep-text ()
  "Return the transcript of this session's last connection, secrets masked."
  (smtps-session-keep--assert-session)
  (concat (smtps-session-keep--head) (smtps-session-keep--body)))

(defun smtps-session-keep--name ()
  "Return a name for the file of this session's transcript."
  (format "%s-%s.transcript"
          (replace-regexp-in-string "[^[:alnum:].-]+" "-"
                                    (plist-get smtps-session--arguments :host))
          (format-time-string "%Y%m%d-%H%M%S" (cdr smtps-session--began))))

;;;###autoload
(defun smtps-session-save (file)
  "Save the transcript of this session's last connection in FILE, secrets masked.
FILE may be a directory.  `smtps-session-replay' says it again, and
\"smtps sandbox --replay\" plays its server.  Others can't read the file: the
mails that were sent are in it."
  (interactive
   (progn
     (smtps-session-keep--assert-session)
     (list (read-file-name "Save the transcript as: " nil nil nil
                           (smtps-session-keep--name)))))
  (let ((text (smtps-session-keep-text))
        (file (if (file-directory-p file)
                  (expand-file-name (smtps-session-keep--name) file)
                (expand-file-name file)))
        (coding-system-for-write 'utf-8-unix)
        (write-region-annotate-functions nil)
        (write-region-post-annotation-function nil))
    (condition-case problem
        (with-file-modes #o600
          (write-region text nil file nil 'silent nil 'ask))
      (file-error (user-error "%s" (error-message-string problem))))
    (message "Saved as %s" (abbreviate-file-name file))))

;;;; Reading

(defconst smtps-session-keep--line
  " *\\(?:[0-9]+ +\\)?\\(recv\\|send\\)>\\(?: \\(.*\\)\\)?$"
  "A line of the dialogue: its direction, and what went over the wire.")

(defconst smtps-session-keep--masks
  '("<the-base64-username>" "<the-base64-password>"
    "<the-encoded-auth-credentials>" "<the-sasl-response>")
  "What stands in the place of a secret.")

(defun smtps-session-keep-masked-p (sent)
  "Return non-nil if in SENT, a line that was sent, a mask stands for a secret."
  (let ((words (split-string sent " ")))
    (when (and (equal (upcase (car words)) "AUTH") (nth 2 words))
      (setq sent (string-join (cddr words) " ")))
    (or (member sent smtps-session-keep--masks)
        (string-prefix-p "<typed as the " sent))))

(defun smtps-session-keep-verb (exchange)
  "Return the first word of what was sent in EXCHANGE, in capitals."
  (upcase (car (split-string (or (plist-get exchange :sent) "") " "))))

(defun smtps-session-keep-address (sent)
  "Return the address in SENT, MAIL or RCPT with their parameters, or nil."
  (and (string-match ":[ \t]*<?\\(\\(?:\"\\(?:[^\"\\]\\|\\\\.\\)*\"\\|[^\"<> \t]\\)*\\)" sent)
       (match-string 1 sent)))

(defun smtps-session-keep-code (exchange)
  "Return the code of the reply in EXCHANGE, a number, or nil."
  (let ((line (car (last (plist-get exchange :reply)))))
    (and line
         (string-match "\\`[2-5][0-9][0-9]\\(?:[ -]\\|\\'\\)" line)
         (string-to-number line))))

(cl-defstruct (smtps-session-keep--reader (:constructor smtps-session-keep--reader))
  "What was read of a dialogue, and where it stands."
  (exchanges nil)                       ; The last first.
  (owed nil)                            ; Those without their reply, the first first.
  (message 'none)                       ; Its lines so far, the last first.
  (chunk 0))

(defun smtps-session-keep--add (reader sent &optional message)
  "Add to READER that SENT was said, the end of MESSAGE if there is one."
  (let ((exchange (list :sent sent :reply nil :message message)))
    (push exchange (smtps-session-keep--reader-exchanges reader))
    (setf (smtps-session-keep--reader-owed reader)
          (append (smtps-session-keep--reader-owed reader) (list exchange)))))

(defun smtps-session-keep--end-message (reader)
  "Tell READER that the message has ended."
  (let ((lines (reverse (smtps-session-keep--reader-message reader))))
    (setf (smtps-session-keep--reader-message reader) 'none)
    (smtps-session-keep--add reader "." lines)))

(defun smtps-session-keep--sent (reader text)
  "Tell READER that the line TEXT was sent."
  (let ((words (split-string text)))
    (cond
     ((listp (smtps-session-keep--reader-message reader))
      (if (equal text ".") (smtps-session-keep--end-message reader)
        (push text (smtps-session-keep--reader-message reader))))
     ((equal (upcase (or (car words) "")) "BDAT")
      (setf (smtps-session-keep--reader-chunk reader)
            (string-to-number (or (nth 1 words) "")))
      (smtps-session-keep--add reader text))
     ((> (smtps-session-keep--reader-chunk reader) 0)
      (cl-decf (smtps-session-keep--reader-chunk reader) (+ 2 (string-bytes text))))
     (t (smtps-session-keep--add reader text)))))

(defun smtps-session-keep--received (reader text)
  "Tell READER that the line TEXT was received."
  ;; With a dash it is the end, as a session tells it.
  (unless (string-prefix-p "- " text)
    (when (listp (smtps-session-keep--reader-message reader))
      ;; smtps send does not write the message down.
      (smtps-session-keep--end-message reader))
    (setf (smtps-session-keep--reader-chunk reader) 0)
    (unless (smtps-session-keep--reader-owed reader)
      (smtps-session-keep--add reader nil))
    (let ((exchange (car (smtps-session-keep--reader-owed reader))))
      (plist-put exchange :reply (append (plist-get exchange :reply) (list text)))
      (when (string-match-p "\\`[2-5][0-9][0-9]\\(?: \\|\\'\\)" text)
        (pop (smtps-session-keep--reader-owed reader))
        (when (and (equal (smtps-session-keep-verb exchange) "DATA")
                   (eql (smtps-session-keep-code exchange) 354))
          (setf (smtps-session-keep--reader-message reader) nil))))))

(defun smtps-session-keep--facts ()
  "Return the header behind point, a plist, and go behind it."
  (let (facts)
    (when (looking-at (concat smtps-session-keep--first "\r?$"))
      (forward-line 1)
      (while (looking-at "\\([A-Za-z-]+\\): *\\([^\r\n]*\\)")
        (setq facts (plist-put facts (intern (concat ":" (downcase (match-string 1))))
                               (match-string 2)))
        (forward-line 1)))
    facts))

(defun smtps-session-keep-read (text)
  "Return what is told in the transcript TEXT, a plist.
Its `:host', `:port', `:tls' and `:date' are strings, or not there: a copy of
a session will do.  Its `:exchanges' are plists: `:sent', a line, or nil where
the server spoke by itself; `:reply', the lines of the reply; and `:message',
where a message ended, its lines as far as they were written down.

Signal `user-error' if no dialogue is in it."
  (let ((reader (smtps-session-keep--reader))
        facts)
    (with-temp-buffer
      (insert (string-replace "\r\n" "\n" text))
      (goto-char (point-min))
      ;; In a report versions come first.
      (when (re-search-forward (concat "^" smtps-session-keep--first "\r?$") nil t)
        (forward-line 0))
      (setq facts (smtps-session-keep--facts))
      (while (not (eobp))
        (when (looking-at smtps-session-keep--line)
          (funcall (if (equal (match-string 1) "recv") #'smtps-session-keep--received
                     #'smtps-session-keep--sent)
                   reader (or (match-string 2) "")))
        (forward-line 1)))
    (unless (smtps-session-keep--reader-exchanges reader)
      (user-error "No dialogue is in it: no line begins with recv> or send>"))
    (append facts (list :exchanges
                        (reverse (smtps-session-keep--reader-exchanges reader))))))

(defun smtps-session-keep-read-file (file)
  "Return what is in the transcript FILE, as `smtps-session-keep-read'."
  (smtps-session-keep-read
   (with-temp-buffer
     (condition-case problem
         (let ((coding-system-for-read 'utf-8-unix))
           (insert-file-contents file))
       (file-error (user-error "%s" (error-message-string problem))))
     (buffer-string))))

(provide 'smtps-session-keep)
;;; smtps-session-keep.el ends here
